"""Artifact -> callable."""

from nlptk.pipelines.artifact import Pipeline, pipeline

__all__ = ["Pipeline", "pipeline"]
