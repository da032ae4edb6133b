"""Supervised contrastive losses: functions of embeddings and labels, usable on their own."""

from lacvit.losses.landmarks import supcon_floor, supcon_start
from lacvit.losses.supcon import LossDetails, supcon_loss

__all__ = ["LossDetails", "supcon_floor", "supcon_loss", "supcon_start"]
