"""Our trainer against Mammo-CLIP's own, from its repository: same image encoder, size, batch and precision.

    git clone https://github.com/batmanlab/Mammo-CLIP $PEER
    git -C $PEER checkout 0d68563352c06784400080e140ae3d447e779283
    uv pip install --target $PEER/site --no-deps albumentations==1.4.24 albucore==0.0.23 nltk eval-type-backport \
        stringzilla simsimd tensorboard absl-py werkzeug markdown    # not into this environment
    PYTHONPATH=.:$PEER/src/codebase:$PEER/site python bench/train_peer.py

Its `trainer.train`, data set, loader, augmentation, loss and model run as they are. A sample is a breast: two images,
two texts. The arms, which take turns of some steps, each with a loader started anew and its first batch untimed:

- ours: `mv_clip`, BatchNorm held as with pretrained weights;
- ours_batch_statistics: the same with BatchNorm on batch statistics, as Mammo-CLIP trains;
- peer_images: Mammo-CLIP with a text encoder of next to no cost (one layer, 16 tokens): the image side alone;
- peer: Mammo-CLIP whole, its text encoder (BERT base, random weights, 256 tokens) trained in every step.

What differs by design: the peer turns PNG files into three channels and augments each on the CPU; ours decodes one
channel from shards and augments on the device; the peer's projections have 512 channels, ours as many as the encoder.
"""

import argparse
import importlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoTokenizer

from bench.train_step import image_row, median_interval, recipe_of, synchronise, whole_steps, write_inputs
from pipeline.allocator import keep_freed_memory
from pipeline.models.initial import write_initial
from pipeline.models.text_encoder import package_model
from pipeline.params import read_params
from pipeline.sections import Encoder, Model
from pipeline.training.run import Training
from pipeline.training.setup import prepare

ROUNDS, STEPS = 12, 2
TIMM_NAME = {"b2": "tf_efficientnet_b2", "b5": "tf_efficientnet_b5"}
PEER_NAME = {"b2": "tf_efficientnetv2-detect", "b5": "tf_efficientnet_b5_ns-detect"}
BERT_BASE: dict[str, int] = {}  # transformers' own defaults are BERT base's
NEXT_TO_NOTHING = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 64}
TEXT = "Left breast. A mass is seen in the upper outer quadrant. There are no calcifications. BI-RADS 4."
RESULT = Path("bench/results")


class Peer:
    """Mammo-CLIP's parts, put together as its `run` does, with files and settings given here instead of by hydra."""

    def __init__(self, folder: Path, options: argparse.Namespace, text: dict[str, int], text_tokens: int) -> None:
        os.environ.setdefault("NLTK_DATA", str(folder))
        trainer = importlib.import_module("breastclip.trainer")
        environment = importlib.import_module("breastclip.util.global_env")
        writer = SimpleNamespace(train=SimpleNamespace(add_scalar=lambda *_: None), global_step=0)
        # rank 1 draws no bar, which asks for CUDA
        environment.GlobalEnv._instance = SimpleNamespace(
            world_size=1, world_rank=0, local_rank=1, num_gpus=1, master=False, summary_writer=writer
        )
        self.trainer, self.device = trainer, torch.device(options.device)
        self.encoder = PEER_NAME[options.encoder]
        self.loader = self._loader(folder, options, text_tokens)
        loss = {"breast_clip": {"label_smoothing": 0.0, "i2i_weight": 1.0, "t2t_weight": 0.5, "loss_ratio": 1.0}}
        self.loss = trainer.build_loss(loss)
        self.model = trainer.build_model(self._model(folder, text), loss, self.loader.dataset.tokenizer).to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5, weight_decay=1e-4)
        self.scheduler = torch.optim.lr_scheduler.ConstantLR(self.optimizer)
        self.scaler = torch.amp.GradScaler("cuda") if options.precision == "fp16" else None

    def _model(self, folder: Path, text: dict[str, int]) -> dict[str, Any]:
        """Its configuration clip_b2_det_clinical, with random weights: none can be fetched here."""
        transformers = importlib.import_module("transformers")
        bert = folder / f"bert-{len(text)}"
        transformers.BertConfig(**text).save_pretrained(bert)
        network = importlib.import_module("breastclip.model.modules.efficientnet_custom").EfficientNet
        network.from_pretrained = classmethod(lambda cls, name, **given: cls.from_name(name, **given))
        return {
            "name": "clip_custom",
            "temperature": 0.07,
            "image_encoder": {"source": "cnn", "name": self.encoder, "pretrained": False, "model_type": "cnn"},
            "text_encoder": {
                "source": "huggingface", "name": str(bert), "pretrained": False, "gradient_checkpointing": False,
                "pooling": "eos", "cache_dir": str(folder), "trust_remote_code": False,
            },
            "projection_head": {"name": "linear", "dropout": 0.1, "proj_dim": 512},
        }  # fmt: skip

    def _loader(self, folder: Path, options: argparse.Namespace, text_tokens: int) -> Any:
        """Its data set over PNG files; the prompts it reads from its author's disk are not used for texts."""
        module = importlib.import_module("breastclip.data.datasets.imagetext")
        importlib.import_module("nltk").tokenize.sent_tokenize = lambda text, language: text.split(". ")
        module.open = lambda *_: (folder / "prompts.json").open()
        table = pd.read_csv(folder / "peer.csv")
        package = read_params().profile.text.model.removeprefix("package:")
        height, width = options.size
        sizes = {"size_h": height, "size_w": width}
        ranges = {
            "affine_transform_degree": 20, "affine_translate_percent": 0.1, "affine_scale": [0.8, 1.2],
            "affine_shear": 20, "elastic_transform_alpha": 10, "elastic_transform_sigma": 15, "p": 1.0,
        }  # fmt: skip
        tokenizer = AutoTokenizer.from_pretrained(package_model(package))
        dataset = module.ImageTextDataset(
            tokenizer=tokenizer, split="train", df=table, dataset="img_text",
            data_dir=str(folder), image_dir="png", text_max_length=text_tokens, loss_config={},
            transform_config={"train": {"Resize": sizes, "transform": ranges}}, mean=0.3089279, std=0.2505355,
            image_encoder_type=self.encoder,
        )  # fmt: skip
        return torch.utils.data.DataLoader(
            dataset, options.batch, shuffle=True, drop_last=True, num_workers=options.peer_workers,
            collate_fn=dataset.collate_fn, pin_memory=options.device == "cuda",
        )  # fmt: skip

    def steps(self, steps: int) -> float:
        """Images per second of its `train`, from its first batch on."""
        batches = iter(self.loader)
        first = next(batches)

        class Turn:
            """The batches of one call."""

            def __iter__(self) -> Iterator[Any]:
                yield first
                for _ in range(steps - 1):
                    yield next(batches)

            def __len__(self) -> int:
                return steps

        start = time.perf_counter()
        self.trainer.train(
            self.model,
            self.device,
            self.loss,
            self.optimizer,
            self.scheduler,
            Turn(),
            0,
            1,
            self.scaler,
            -1,
            self.encoder,
        )
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return 2 * self.loader.batch_size * steps / (time.perf_counter() - start)


def write_peer_files(folder: Path, size_px: tuple[int, int], breasts: int) -> None:
    """The images of `write_inputs` as PNG files, and the table that Mammo-CLIP's data set reads."""
    rng, rows = np.random.default_rng(0), []
    for breast in range(breasts):
        patient = folder / f"png/p{breast}"
        patient.mkdir(parents=True)
        for view in ("CC", "MLO"):
            png: Any = image_row(rng, size_px, breast, view)["image"]
            (patient / f"{view}.png").write_bytes(png)
        row = {"patient_id": f"p{breast}", "view": "['CC', 'MLO']", "CC": "['CC.png']", "MLO": "['MLO.png']"}
        rows.append(row | {"text": repr([TEXT])})
    pd.DataFrame(rows).to_csv(folder / "peer.csv", index=False)
    (folder / "prompts.json").write_text("{}")


def our_training(options: argparse.Namespace, folder: Path, held: bool) -> Training:
    """`mv_clip` ready to take steps."""
    recipe = recipe_of(options, folder, options.batch)
    training = prepare(recipe._replace(out=folder / f"out-{held}"))
    training.held = held
    return training


def main() -> None:
    """Measures and writes bench/results/<name>.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16"])
    parser.add_argument("--encoder", default="b2", choices=list(TIMM_NAME))
    parser.add_argument("--size", type=int, nargs=2, default=[256, 160], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peer-workers", type=int, default=0, help="0: as its configuration dataloader_b5 has it")
    parser.add_argument("--name", default="train_peer_cpu")
    options = parser.parse_args()
    keep_freed_memory()
    ours = argparse.Namespace(
        **vars(options) | {"encoder": TIMM_NAME[options.encoder], "method": "mv_clip"},
        tr_tokens=None, images_per_pass=None, checkpointing=False, compile=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PIPELINE_SCRATCH"] = str(folder / "scratch")
        size_px = (options.size[0], options.size[1])
        write_inputs(folder, size_px, breasts=max(160, 4 * options.batch))
        write_peer_files(folder, size_px, breasts=max(160, 4 * options.batch))
        model = Model(encoder="auto", weights="random")
        write_initial(ours.encoder, model, Encoder(default=ours.encoder, weights={}), *size_px, 0, folder / "initial")
        held, batch_statistics = our_training(ours, folder, held=True), our_training(ours, folder, held=False)
        peer_images, peer = Peer(folder, options, NEXT_TO_NOTHING, 16), Peer(folder, options, BERT_BASE, 256)
        arms: dict[str, Callable[[int], float]] = {
            "ours": lambda turn: whole_steps(held, turn, STEPS),
            "ours_batch_statistics": lambda turn: whole_steps(batch_statistics, turn, STEPS),
            "peer_images": lambda _: peer_images.steps(STEPS),
            "peer": lambda _: peer.steps(STEPS),
        }
        rates: dict[str, list[float]] = {arm: [] for arm in arms}
        for turn in range(ROUNDS + 1):
            for arm, run in arms.items():
                rate = run(turn)
                if turn:  # the first round warms up
                    rates[arm].append(rate)
            print({arm: round(of[-1], 2) for arm, of in rates.items() if of}, flush=True)
        synchronise(held)
    result: dict[str, Any] = vars(options) | {"rounds": ROUNDS, "steps_per_turn": STEPS}
    result["images_per_s"] = {arm: round(statistics.median(of), 2) for arm, of in rates.items()}
    for own in ("ours", "ours_batch_statistics"):
        for other in ("peer_images", "peer"):
            ratios = [a / b for a, b in zip(rates[own], rates[other], strict=True)]
            low, high = median_interval(ratios)
            found = {"ratio": statistics.median(ratios), "low": low, "high": high}
            result[f"{own}_over_{other}"] = {key: round(value, 3) for key, value in found.items()}
    result |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    (RESULT / f"{options.name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
