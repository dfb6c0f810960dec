"""`mplus model`: models at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mplus_cli.commands import common
from mplus_cli.errors import Interrupted, ModelMissing

app = common.new_app(
    """List, fetch, bring in and check models.

    \b
      mplus model list
      mplus model pull mplus-8b
      mplus model import ~/checkpoints/mine --name mine
    """
)
ModelName = Annotated[str | None, typer.Argument(metavar="MODEL", help="A model at hand, or its folder.")]
NewName = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Call it so.")]


@app.command("list")
def list_(as_json: common.Json = False) -> None:
    """List the models at hand; the first is the default."""
    from mplus_cli import listing, models

    listing.models(models.list_models(common.places().models), as_json)


@app.command()
def show(model: ModelName = None, as_json: common.Json = False) -> None:
    """Show one model: where it lies, where it came from, its sizes."""
    from mplus_cli import listing, models

    listing.model(models.find_model(model, common.places().models), as_json)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mplus-8b, memoryllm-8b, memoryllm-8b-chat.")],
    revision: Annotated[str | None, typer.Option("--revision", metavar="REV", help="A branch, tag or commit.")] = None,
    as_json: common.Json = False,
) -> None:
    """Fetch a published model from the Hugging Face hub; the one command that uses the network.

    \b
      mplus model pull mplus-8b

    Goes on where it stopped. Space is checked before, checksums after; the commit is recorded.
    """
    from mplus_cli import hub, listing

    events = hub.pull(name, common.places().models, revision=revision, offline=common.is_offline())
    try:
        listing.pull(events, as_json)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(Interrupted.remedy) from None  # what was fetched is kept


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Holds config.json, *.safetensors, tokenizer.json.")],
    name: NewName = None,
    link: Annotated[bool, typer.Option("--link", help="Link to the files instead of copying them.")] = False,
    as_json: common.Json = False,
) -> None:
    """Bring in a model from a folder; pickles are refused; a Llama without memory training is read in raw-kv mode."""
    from mplus_cli import listing, models

    listing.model(models.import_model(folder, common.places().models, name, link), as_json)


@app.command()
def verify(model: ModelName = None, as_json: common.Json = False) -> None:
    """Recompute the checksums of a model."""
    from mplus_cli import listing, models

    record = models.find_model(model, common.places().models)
    if listing.files(models.verify_model(record), as_json):
        raise typer.Exit(ModelMissing.exit_code)
