"""The command ``tritium``: parses, calls, prints. Data goes to stdout, everything else to stderr.

Exit codes: 0 done, 1 a bug of Tritium's, 2 bad usage, 10 to 24 what gpu-discover says about the devices,
31 and up one for each cause in `tritium.errors`, 130 ended by Ctrl-C, 141 nobody reads stdout. The README
lists them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tritium.cli_conf import conf
from tritium.errors import BadSpec, CannotPublish, TritiumError
from tritium_discovery import DiscoveryError

if TYPE_CHECKING:
    from tritium.pipeline.report import Story

__all__ = ["main"]

_INTERRUPTED = 130
_READER_GONE = 141
"""As a shell says of SIGPIPE."""
_EXTRAS = {
    "spark": ("pyspark", "pyarrow", "rich"),
    "demo": ("pyspark", "pyarrow", "rich", "torch", "scikit-learn"),
}
"""What a command looks for before it starts; pyproject.toml has the whole lists."""
_MACHINE = click.option(
    "--machine", metavar="NAME", help="Emulate this machine's devices, e.g. dgx-a100 (else TRITIUM_MACHINE)."
)
_OUTPUT = click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of stdout.",
)
_WORKDIR = click.option(
    "--workdir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep models, state and reports here, not where spec.storage says.",
)
_FILE = click.argument("file", type=click.Path(path_type=Path))


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``tritium`` and return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in arguments
    if not debug:
        # What libraries log (py4j does, when it is interrupted) is not what the user is told.
        logging.getLogger().addHandler(logging.NullHandler())
    try:
        result = _tritium.main(args=arguments, prog_name="tritium", standalone_mode=False)
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("tritium: interrupted", err=True)
        return _INTERRUPTED
    except SystemExit:
        return _READER_GONE  # so click answers a closed pipe behind stdout
    except (TritiumError, DiscoveryError, OSError) as err:
        if debug:
            raise
        click.echo(f"tritium: {_sentence(err)}", err=True)
        return CannotPublish.exit_code if isinstance(err, OSError) else err.exit_code
    return result if isinstance(result, int) else 0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("tritium"), message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def _tritium(*, debug: bool) -> None:
    """Decide which accelerator each Spark task holds, for training and for inference."""
    del debug  # read in main, which has to know it before anything can fail


_tritium.add_command(conf)


@_tritium.command()
@_FILE
@_MACHINE
@_OUTPUT
def plan(*, file: Path, machine: str | None, output: str) -> None:
    """Show what would run where, and why, without running it."""
    _needs("spark")
    from tritium.pipeline.load import load
    from tritium.pipeline.plan import require
    from tritium.pipeline.plan_view import as_data, as_text
    from tritium.pipeline.start import planned

    foreseen = planned(load(file), machine=machine)
    require(foreseen)
    click.echo(_json(as_data(foreseen)) if output == "json" else as_text(foreseen))


@_tritium.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--request", metavar="YAML", help="What is asked, e.g. '{members: 4, near: nvlink}', or a list."
)
@_MACHINE
@_OUTPUT
def explain(*, file: Path | None, request: str | None, machine: str | None, output: str) -> int:
    """Say what goes where, or what stands in the way and who holds what is missing.

    FILE is a pipeline, or a snapshot that tritium.explain saved in a running application; of a snapshot
    --request may ask something else. Without FILE it is asked of this machine.
    """
    _needs("spark")
    from tritium.pipeline.answers import answers, emulated, exit_code, requests_of

    told = answers(file, () if request is None else requests_of(request), machine=machine)
    if name := emulated(file, machine=machine):
        click.echo(f"the devices are emulated: machine {name}", err=True)
    if output == "json":
        click.echo(_json({name: each.as_data() for name, each in told.items()}))
    else:
        click.echo("\n\n".join(f"{name}: {each}" for name, each in told.items()))
    return exit_code(told.values())


@_tritium.command()
@_FILE
@_MACHINE
@click.option("--master", metavar="URL", help="Run on this Spark master, not on a cluster of our own here.")
@_WORKDIR
@click.option("--fresh", is_flag=True, help="Run every stage again, finished or not.")
@_OUTPUT
def run(
    *,
    file: Path,
    machine: str | None,
    master: str | None,
    workdir: Path | None,
    fresh: bool,
    output: str,
) -> None:
    """Train, verify and infer; goes on where an earlier run was stopped."""
    _needs("spark")
    from tritium.pipeline.load import load
    from tritium.pipeline.start import start

    pipeline = load(file, storage=workdir)
    _tell(start(pipeline, machine=machine, master=master, fresh=fresh, stream=sys.stderr), output)


@_tritium.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path("out/demo"))
@click.option(
    "--machine", metavar="NAME", default="dgx-a100", show_default=True, help="The machine to emulate."
)
def demo(*, folder: Path, machine: str) -> None:
    """Run the pipeline that ships with Tritium on handwritten digits and emulated devices, in FOLDER."""
    _needs("demo")
    from tritium.demo import prepare, say_what_happened
    from tritium.pipeline.load import load
    from tritium.pipeline.start import start

    file, again = prepare(folder, say=_say)
    story = start(load(file), machine=machine, master=None, fresh=again, stream=sys.stderr)
    _tell(story, "text")
    say_what_happened(story, folder, say=_say, show=click.echo)


@_tritium.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--batch", type=click.IntRange(min=0), metavar="N", help="This micro-batch of a stream.")
@click.option(
    "--output",
    type=click.Choice(["table", "json", "prometheus"]),
    default="table",
    show_default=True,
    help="Format of stdout.",
)
def profile(*, folder: Path, batch: int | None, output: str) -> None:
    """Say where the time of an inference went, and what would make it faster.

    FOLDER is what predict or stream was given as report=. It is asked for the newest run in it.
    """
    _needs("spark")
    from tritium.infer import read_reports
    from tritium.infer.profile import as_data, merged, prometheus, table

    reports = read_reports(folder, batch=batch)
    if not reports:
        whose = "inference task" if batch is None else f"task of micro-batch {batch}"
        raise BadSpec("reports", [f"{folder}: no {whose} has left one in this folder"])
    found = merged(reports)
    match output:
        case "json":
            click.echo(_json(as_data(found)))
        case "prometheus":
            click.echo(prometheus(found, job=folder.resolve().name), nl=False)
        case _:
            click.echo(table(found))


def _sentence(err: Exception) -> str:
    """What a disk or a folder refuses is a mistake of the user's too: name it, and a way out."""
    if isinstance(err, OSError) and err.filename is not None:
        return f"{err.filename}: {err.strerror}; choose a folder that you may write, with --workdir for a run"
    return str(err)


def _needs(extra: str) -> None:
    """Refuse in a sentence where an extra's packages are missing, as they are from the small base install."""
    for package in _EXTRAS[extra]:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError as err:
            install = f"in Tritium's folder, pip install '.[{extra}]'"
            raise click.UsageError(f"{package} is not installed; this needs it: {install}") from err


def _tell(story: Story, output: str) -> None:
    """Print what a run led to, and raise what stopped it."""
    from tritium.pipeline.run_view import as_data, as_text
    from tritium.pipeline.start import report_of

    report = report_of(story.pipeline)
    if story.run.records:
        click.echo(_json(as_data(story, report=report)) if output == "json" else as_text(story))
    _say(f"report: {report}")
    if story.run.error is not None:
        raise story.run.error


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _json(data: Any) -> str:
    return json.dumps(data, indent=2)


if __name__ == "__main__":
    sys.exit(main())
