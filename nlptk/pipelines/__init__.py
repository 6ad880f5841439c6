"""Artifact -> callable; the pipelines that transformers 5.3 dropped, and few-shot's, registered with it."""

from nlptk.pipelines import few_shot as few_shot
from nlptk.pipelines import restored as restored  # registers them
from nlptk.pipelines.artifact import Pipeline, pipeline

__all__ = ["Pipeline", "few_shot", "pipeline", "restored"]

few_shot.register()
