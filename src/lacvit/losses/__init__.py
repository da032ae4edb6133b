"""Supervised contrastive losses: functions of embeddings and labels, usable on their own."""

from lacvit.losses.choose import contrastive_loss, loss_landmarks
from lacvit.losses.landmarks import supcon_floor, supcon_start
from lacvit.losses.npair import npair_loss
from lacvit.losses.simclr import ntxent_loss
from lacvit.losses.sincere import sincere_loss
from lacvit.losses.supcon import LossDetails, supcon_loss

__all__ = [
    "LossDetails",
    "contrastive_loss",
    "loss_landmarks",
    "npair_loss",
    "ntxent_loss",
    "sincere_loss",
    "supcon_floor",
    "supcon_loss",
    "supcon_start",
]
