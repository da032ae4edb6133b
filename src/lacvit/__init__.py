"""Label-aware contrastive training of pretrained vision transformers."""
