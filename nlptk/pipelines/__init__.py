"""Artifact -> callable; and the pipelines that transformers 5.3 dropped, registered with it again."""

from nlptk.pipelines import restored as restored  # registers them
from nlptk.pipelines.artifact import Pipeline, pipeline

__all__ = ["Pipeline", "pipeline", "restored"]
