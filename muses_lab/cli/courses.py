"""The commands `muses-lab course …`: what trainers do with courses, and how participants get them."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from muses_lab.cli.plain import at_terminal
from muses_lab.courses import copies
from muses_lab.courses import folder as folders
from muses_lab.courses.description import FILE, CourseError
from muses_lab.courses.released import released
from muses_lab.progress import Progress

app = typer.Typer()
course_app = typer.Typer(
    help="Courses: make, check and publish them, take them, collect their results.", no_args_is_help=True
)
app.add_typer(course_app, name="course")

Folder = Annotated[Path, typer.Argument(help=f"The course's folder, with {FILE}.")]
Name = Annotated[str, typer.Argument(help="The course's name, as `muses-lab course list` shows it.")]


@course_app.command("new")
def new_course(
    name: Annotated[str, typer.Argument(help="2 to 40 of a-z, 0-9 and -.")],
    folder: Annotated[Path | None, typer.Option(help="Where it goes.", show_default="a folder of that name")] = None,
    title: Annotated[str, typer.Option(help="What participants read.", show_default="made of the name")] = "",
) -> None:
    """Begin a course: a folder with a description, a notebook, an exercise and a question, to be rewritten."""
    from muses_lab.authoring.new import new_course

    made = new_course(name, folder, title)
    typer.echo(f"{made} is a course. Write it (JupyterLab opens its notebooks), then:")
    typer.echo(
        f"  muses-lab course check {shlex.quote(str(made))}\n  muses-lab course publish {shlex.quote(str(made))}"
    )


@course_app.command("publish")
def publish_course(folder: Folder) -> None:
    """Publish a course: on a hub for its users, with its scenes; on a laptop for yourself."""
    from muses_lab.authoring.publish import publish

    with _Files() as files:
        packed, published = publish(folder, told=files, said=files.say)
    typer.echo(str(packed))
    course = packed.description.course
    if isinstance(published, folders.Published):
        typer.echo(f"published in {published.folder}\na copy to work in: muses-lab course open {course}")
    else:
        typer.echo(f"published on the hub; participants join by this link: {_link(course)}")


def _link(course: str) -> str:
    from muses_lab.publish.sharing import public_address
    from muses_lab.store import default_store

    return public_address(getattr(default_store(), "url", ""), f"courses/{course}")


@course_app.command("bundle")
def bundle_course(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip.")],
    whole: Annotated[bool, typer.Option("--whole", help="Copy the files of scenes as they are.")] = False,
) -> None:
    """Write a course with its scenes to one zip, for a laptop or another hub: it runs without a network."""
    from muses_lab.authoring.publish import bundle

    with _Files() as files:
        packed = bundle(folder, output, whole=whole, told=files, said=files.say)
    typer.echo(str(packed))
    typer.echo(f"{output} is written; whoever has it: muses-lab course open {shlex.quote(str(output))}")


@course_app.command("open")
def open_course(
    what: Annotated[
        str,
        typer.Argument(
            help="A course's name (published, or of this release), a course's folder, or a zip of `bundle`."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Where your copy goes.", show_default="courses/NAME beside your other notebooks")
    ] = None,
    lab: Annotated[bool, typer.Option("--lab", help="Start JupyterLab there.")] = False,
) -> None:
    """Get a copy of a course to work in, or what is new in it; what you changed in it stays as it is."""
    copy, given = copies.open_copy(_published(what), folder)
    description = copy.describe()
    first = description.notebooks[0].file
    typer.echo(f"{description.title}: your copy is in {copy.folder}")
    for line in str(given).splitlines():
        typer.echo(f"  {line}")
    start = [sys.executable, "-m", "jupyter", "lab", f"--LabApp.default_url=/lab/tree/{first}"]
    start += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    if not lab:
        typer.echo(f"start with: cd {shlex.quote(str(copy.folder))} && jupyter lab {shlex.quote(first)}")
        return
    os.chdir(copy.folder)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    os.execv(sys.executable, start)


def _published(what: str) -> folders.Published:
    place = Path(what).expanduser()
    if place.is_file() or (place / FILE).is_file():
        from muses_lab.authoring.publish import install

        with _Files() as files:
            return install(place, told=files)
    if place.suffix or "/" in what or place.is_dir():
        raise CourseError(f"{what} is neither a course's folder (with {FILE}) nor a zip that `course bundle` wrote")
    if what in released() and all(one.course != what for one in folders.published()):
        return _published(str(released()[what]))
    return folders.find(what)


@course_app.command("reset")
def reset_notebook(
    name: Annotated[str, typer.Argument(help="The course's name, or the path of your copy (as . or ./floods).")],
    notebook: Annotated[str, typer.Argument(help="The notebook, as 01-first-map.ipynb.")],
) -> None:
    """Give back a notebook of your copy as it was published; your own version is kept beside it."""
    place = Path(name).expanduser()
    copy = copies.find_copy(place if name == "." or "/" in name else copies.home_of(folders.find(name).course))
    kept = copies.reset(copy, notebook)
    typer.echo(
        f"{notebook} is as it was published"
        + (f"; yours, as last saved, is in {kept}" if kept else "; it was so already")
    )


@course_app.command("list")
def list_courses() -> None:
    """List the courses that are published here, and those that come with this release."""
    found = folders.published()
    if not found:
        typer.echo(
            "none is published yet: `muses-lab course new NAME` begins one, `muses-lab course open ZIP` takes one from "
            "a file"
        )
    for one in found:
        size = f"{one.bytes / 1e6:.1f} MB"
        typer.echo(f"{one.course}  {one.version}  {one.when:%Y-%m-%d %H:%M}  {size}  {one.title}")
    if names := sorted(released()):
        typer.echo(f"of this release: {', '.join(names)} (`muses-lab course open NAME` gives you a copy)")


@course_app.command("remove")
def remove_course(
    name: Name,
    answers: Annotated[bool, typer.Option("--answers", help="Forget the answers too, for good.")] = False,
) -> None:
    """Take a published course away with its exercises and scenes, which copies of it then lack. The notebooks in copies
    stay, and answers too unless --answers is given.
    """
    from muses_lab.courses.journal import Journal
    from muses_lab.store import default_store

    store = default_store()
    if hasattr(store, "publish_course") and not _is_own(name):
        store.remove_course(name, answers)
        typer.echo(f"{name} is removed from the hub" + (", with all answers" if answers else "; answers are kept"))
        return
    freed = folders.remove(name)
    if answers:
        Journal(name).remove()
    typer.echo(
        f"{name} is removed, {freed / 1e6:.1f} MB freed" + (", answers too" if answers else "; answers are kept")
    )


def _is_own(name: str) -> bool:
    """Whether a course is the user's own, not the hub's."""
    return any(one.course == name and one.folder.is_relative_to(folders.own_folder()) for one in folders.published())


class _Blocks:
    """The blocks of chains that the class's evaluator has done, a bar or lines for each chain."""

    def __init__(self) -> None:
        self._shown: dict[str, Progress] = {}

    def __enter__(self) -> _Blocks:
        return self

    def __call__(self, name: str, done: int, of: int) -> None:
        if of and name not in self._shown:
            self._shown[name] = Progress(of, name, "block").__enter__()
        if of:
            self._shown[name].update(done - self._shown[name].done)

    def __exit__(self, *error: Any) -> None:
        for one in self._shown.values():
            one.__exit__(*error)


class _Files:
    """The files of scenes that are done, as a bar or as lines, and the steps before and after."""

    def __init__(self) -> None:
        self._shown: Progress | None = None

    def say(self, line: str) -> None:
        self._end()
        typer.echo(line, err=True)

    def __enter__(self) -> _Files:
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._shown is None:
            self._shown = Progress(total, "Scenes", "file").__enter__()
        self._shown.update(done - self._shown.done)

    def __exit__(self, *error: Any) -> None:
        self._end()

    def _end(self) -> None:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
            self._shown = None


@course_app.command("check")
def check_course(
    folder: Folder,
    read_only: Annotated[bool, typer.Option("--read-only", help="Read the files, run no notebook.")] = False,
) -> None:
    """Try a course: read it, run it as a participant without a network, solve it, answer wrongly. Exit code 1 if a part
    is not right; all that is wrong is told at once.
    """
    from muses_lab.authoring.check import check

    found = check(folder, run=not read_only, told=lambda line: typer.echo(line, err=True))
    if str(found):
        typer.echo(str(found))
    if not found.ok:
        raise typer.Exit(1)
    typer.echo("the course is right")


@course_app.command("warm")
def warm_course(name: Name) -> None:
    """Compute a course's chains for its area and zooms before the class comes; what is there already is kept.

    On a hub the class's evaluator computes them, for all; on a laptop they are yours.
    """
    from muses_lab.authoring.warm import warm, warm_for_class

    total = 0
    evaluator = os.environ.get("MUSES_COURSE_URL")
    if evaluator and not _is_own(name):
        with _Blocks() as blocks:
            found = iter(warm_for_class(evaluator, os.environ.get("JUPYTERHUB_API_TOKEN", ""), name, blocks))
    else:
        found = warm(folders.find(name), progress=at_terminal())
    for chain in found:
        typer.echo(str(chain))
        total += chain.bytes
    typer.echo(f"{total / 1e6:.1f} MB are kept" + (" for the class" if evaluator else ""))


@course_app.command("results")
def course_results(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .csv or .parquet.", show_default="a table here")
    ] = None,
) -> None:
    """Tell how far participants are: on a hub all of them, for the course's trainers; on a laptop yourself."""
    from muses_lab.authoring.results import results_of, write

    results = results_of(name)
    if output is not None:
        write(results, output)
        typer.echo(f"{output} is written: {len(results.participants)} participants")
        return
    table = results.table()
    points = table.groupby("participant")["points"].sum()
    for who in points.index:
        own = table[table["participant"] == who]
        right, count = (own["state"] == "right").sum(), len(own)
        typer.echo(f"{who}  {right} of {count} exercises right  {points[who]:g} of {own['of'].sum():g} points")


@course_app.command("collect")
def collect_course(
    name: Name, folder: Annotated[Path, typer.Argument(help="Where they go: FOLDER/<participant>/<notebook>.")]
) -> None:
    """Copy all participants' notebooks, and the table of results, into a folder."""
    from muses_lab.authoring.results import collect

    found = collect(name, folder)
    typer.echo(f"{len(found.notebooks)} notebooks and results.csv are in {folder}")
    for missing in found.left_out:
        typer.echo(missing, err=True)


@course_app.command("nbgrader")
def grade_with_nbgrader(
    folder: Folder, output: Annotated[Path, typer.Option("--output", "-o", help="A folder in which nbgrader runs.")]
) -> None:
    """Write a course as an assignment of nbgrader, which releases, collects and grades it. It is not needed here."""
    from muses_lab.authoring.nbgrader import write_assignment

    written = write_assignment(folder, output)
    typer.echo("\n".join(map(str, written)))
    typer.echo(f"next, in {output}: nbgrader generate_assignment {written[0].parent.name}")
