"""Pretraining from shards and token states to a saved model; a killed run continues at the sample where it was."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from pipeline.allocator import keep_freed_memory
from pipeline.models.two_tower import load_model, save_model
from pipeline.sections import Augment, Compute, Optimisation, Pretrain, Text, Tr
from pipeline.training.batch import Batch, ReadText, collate
from pipeline.training.launch import check_device, is_rank, launch
from pipeline.training.live import LiveCurve, timed
from pipeline.training.memory import memory_explained
from pipeline.training.order import epoch_batches, row_groups
from pipeline.training.reader import ahead
from pipeline.training.record import HistoryRow, ValidationRow, write_engine, write_rows
from pipeline.training.run import Recipe, Training
from pipeline.training.setup import prepare
from pipeline.training.step import train_step
from pipeline.training.stop import asked_to_stop, save_or_stop
from pipeline.training.texts import caption_reader, report_reader
from pipeline.training.validate import validate


def pretrain(
    shards: Path,
    text: Path,
    initial: Path,
    out: Path,
    *,
    live: Path | None,
    encoder: str,
    seed: int,
    settings: Pretrain,
    tr: Tr,
    optimisation: Optimisation,
    augment: Augment,
    compute: Compute,
    text_model: Text,
) -> None:
    """Trains image and text tower on the training split and writes the model with its curves.

    Checkpoints go to the scratch folder of exactly these settings, inputs and code; a run that finds some continues
    there, and on the CPU ends with the same bits as one that was never interrupted. `make clean-scratch` forgets them.

    Args:
        shards: Folder with one folder of shards per cohort.
        text: Token states and keys of the reports.
        initial: The encoder to start from.
        out: Gets model.safetensors, config.json, history.csv, validation.csv, engine.json.
        live: CSV that grows by a row per step while it runs, with times; None: beside the checkpoints.
        encoder: Name in params.yaml, which picks the rows of optimisation.epochs and .batch.
        seed: Of the new weights, the order, the draws and the augmentation.
        settings: Cohorts, method and loss.
        tr: Size of the Tr modules, used by the methods that end in _tr.
        optimisation: Learning rate, temperatures, batch and so on.
        augment: Ranges of the deformations.
        compute: Device, precision, decoding threads and ranks.
        text_model: The text encoder, where it learns along; else the greatest number of tokens of a report.

    Raises:
        InputError: there is no GPU for a GPU profile, the inputs do not fit together, or the loss is no longer finite.
        SystemExit: SIGTERM arrived; a checkpoint was written.
    """
    own = optimisation.for_method(settings.method)
    recipe = Recipe(shards, text, initial, out, live, encoder, seed, settings, tr, own, augment, compute, text_model)
    if settings.method == "none":
        _keep_initial(initial, out)
        return
    check_device(compute)
    if compute.processes > 1 and not is_rank():
        launch(train_rank, compute.processes, recipe)
    else:
        train_rank(recipe)


def train_rank(recipe: Recipe) -> None:
    """One rank's run from the newest checkpoint to the end; the first rank writes."""
    keep_freed_memory()
    training = prepare(recipe)
    training.restore()
    with asked_to_stop() as asked, _progress(training) as progress:
        live = LiveCurve(recipe.live or training.folder / "live.csv", training)
        first = training.done.steps // training.epoch_steps
        if len(training.done.validation) < first:  # stopped before it
            _validate(training, live)
        for epoch in range(first, training.epochs):
            live.start_epoch()
            for batch, waited_s in timed(_batches(training, epoch)):
                row = train_step(training, batch, epoch)
                live.add(row, waited_s)
                progress.update(training.done.images - progress.n)
                progress.set_postfix(loss=f"{row.loss:.4f}", epoch=epoch + 1, refresh=False)
                _after_step(training, epoch, asked, live)
    if training.accelerator.is_main_process:
        _write(training)
    training.accelerator.wait_for_everyone()
    training.accelerator.end_training()


def _keep_initial(initial: Path, out: Path) -> None:
    """Method none: the encoder as it was, with empty curves."""
    save_model(*load_model(initial), out)
    write_rows(out / "history.csv", HistoryRow._fields, [])
    write_rows(out / "validation.csv", ValidationRow._fields, [])
    write_engine(out / "engine.json", {"images_read": 0, "steps": 0})


def _batches(training: Training, epoch: int) -> Iterator[Batch]:
    """The batches of an epoch that are still to come."""
    recipe, ranks = training.recipe, training.accelerator
    draw = training.draw(epoch)
    group = row_groups(training.pairs.images)[draw.paired]
    units = epoch_batches(group, training.batch, ranks.num_processes, ranks.process_index, recipe.seed, epoch)
    left = units[training.done.steps - epoch * training.epoch_steps :]
    workers = max(1, recipe.compute.workers // recipe.compute.processes)
    read_text = _read_text(training, epoch)
    pairs, reader = training.pairs, training.reader
    return ahead(lambda some: collate(pairs, reader, draw, some, recipe.text_tokens, read_text), left, workers)


def _read_text(training: Training, epoch: int) -> ReadText | None:
    """For a text encoder that learns, what it reads in an epoch; else None."""
    pairs, recipe, language = training.pairs, training.recipe, training.tower.language
    if recipe.traits.captions:
        return caption_reader(pairs, language, recipe.settings.caption_masking, recipe.seed, epoch)
    return None if language is None else report_reader(pairs, language)


def _after_step(training: Training, epoch: int, asked: Callable[[], bool], live: LiveCurve) -> None:
    """Saves when due, validates at the end of an epoch, and ends when asked to.

    An epoch is saved before its validation, which may take longer than is left after SIGTERM.
    """
    done = training.done
    ended, last = done.steps == (epoch + 1) * training.epoch_steps, done.steps == training.total_steps
    save_or_stop(training, asked(), due=ended or done.steps % training.recipe.optimisation.checkpoint_steps == 0)
    if ended:
        _validate(training, live)
        save_or_stop(training, asked(), due=last)


def _validate(training: Training, live: LiveCurve) -> None:
    """Adds the row of the epoch that has ended, for a method with text."""
    done, recipe = training.done, training.recipe
    if not recipe.traits.text or not len(training.validation.images):
        return
    batch = min(2 * training.batch, recipe.optimisation.images_per_pass or 2 * training.batch)
    size_px = training.config.height_px, training.config.width_px
    with memory_explained(training, batch, size_px):
        found = validate(
            training.tower,
            training.validation,
            training.reader,
            batch,
            recipe.text_tokens,
            max(1, recipe.compute.workers // recipe.compute.processes),
            training.accelerator,
        )
    done.validation.append(ValidationRow(done.steps // training.epoch_steps, found.recall_at_1, found.n))
    live.add_validation(done.validation[-1])


def _write(training: Training) -> None:
    """Writes the finished model and what is known about its training."""
    recipe, done = training.recipe, training.done
    save_model(training.tower, training.config, recipe.out)
    write_rows(recipe.out / "history.csv", HistoryRow._fields, done.history)
    write_rows(recipe.out / "validation.csv", ValidationRow._fields, done.validation)
    counted: dict[str, int | str] = {
        "images_read": done.images,
        "steps": done.steps,
        "shards": int(training.pairs.images["file"].nunique()),
        "reports": len(training.pairs.prompt),
        "processes": training.accelerator.num_processes,
        "optimizer": type(training.optimizer.optimizer).__name__,
        "batch_norm": "running statistics" if training.held else "batch statistics",
        "images_per_pass": recipe.optimisation.images_per_pass or "all",
    }
    write_engine(recipe.out / "engine.json", counted)


def _progress(training: Training) -> "tqdm[None]":
    """The bar, counted in images, so that its rate is images per second of all ranks."""
    return tqdm(
        total=training.epoch_images * training.epochs,
        initial=training.done.images,
        unit="image",
        desc="pretrain",
        disable=not training.accelerator.is_main_process,
    )
