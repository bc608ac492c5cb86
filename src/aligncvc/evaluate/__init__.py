"""Evaluation: image metrics, the consistency curve, the protocol, long-form records."""

from aligncvc.evaluate.consistency import matched_pose_residual
from aligncvc.evaluate.records import Record, concat, read_records, write_records
from aligncvc.metrics.image import foreground_psnr, lpips_metric, psnr, ssim

__all__ = [
    "Record",
    "concat",
    "foreground_psnr",
    "lpips_metric",
    "matched_pose_residual",
    "psnr",
    "read_records",
    "ssim",
    "write_records",
]
