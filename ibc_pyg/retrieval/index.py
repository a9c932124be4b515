"""Index of pictures on disk: built once, brought up to date, searched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console

from ibc_pyg.errors import RunError, printable, program
from ibc_pyg.refinement import Parameters
from ibc_pyg.retrieval.ann.engine import import_faiss
from ibc_pyg.retrieval.ann.record import AnnKind, AnnRecord, AnnSettings
from ibc_pyg.retrieval.ann.refresh import refresh_ann
from ibc_pyg.retrieval.calibration.stored import Calibration, make_calibration
from ibc_pyg.retrieval.fingerprint import Fingerprint
from ibc_pyg.retrieval.models import Model, model_folder, open_model
from ibc_pyg.retrieval.reader import IndexReader, PathLike
from ibc_pyg.retrieval.refined.build import build_refined, remove_refined
from ibc_pyg.retrieval.refined.record import REFINER, RefinedRecord
from ibc_pyg.retrieval.store.catalogue import write_meta
from ibc_pyg.retrieval.store.roots import Part, Source
from ibc_pyg.retrieval.store.writer import StoreWriter, store_writer
from ibc_pyg.retrieval.update import edit
from ibc_pyg.retrieval.update.add import add_pictures
from ibc_pyg.retrieval.update.create import check_folder, prepare_folder
from ibc_pyg.retrieval.update.fill import Pace
from ibc_pyg.retrieval.update.reembed import reembed
from ibc_pyg.retrieval.update.report import SyncReport
from ibc_pyg.retrieval.update.scan import Listed, find_source, list_source
from ibc_pyg.retrieval.update.sync import Work, sync_source


class Index(IndexReader):
    """Pictures by their vectors, in a folder; made by `build` or `open`.

    Any number of processes may search an index while one changes it: each search sees it as it was
    before or after a change. A killed process leaves an index that opens and goes on.

    Attributes:
        report: What the last `build`, `sync` or `add` of this object did.
        pace: Distance of two commits while pictures are embedded.
    """

    pace = Pace()

    def __init__(
        self,
        path: PathLike,
        model: Model | None = None,
        *,
        weights: PathLike | None = None,
        trust_code: bool = False,
    ) -> None:
        super().__init__(path, model, weights=weights, trust_code=trust_code)
        self.report = SyncReport()

    @classmethod
    def open(
        cls,
        path: PathLike,
        model: Model | None = None,
        *,
        weights: PathLike | None = None,
        trust_code: bool = False,
    ) -> Index:
        """Open an index; nothing is read until it is searched.

        Args:
            path: The folder.
            model: Its model, if it is not where it was when the index was built: an embedder of
                `ibc_pyg.load`, a run folder, or the name of a pretrained backbone. It is opened
                for the first picture.
            weights: Local weights of a pretrained backbone.
            trust_code: As for `ibc_pyg.load`.

        Raises:
            RunError: If the folder is not an index, or it is damaged.
        """
        return cls(path, model, weights=weights, trust_code=trust_code)

    @classmethod
    def build(
        cls,
        model: Model,
        images: PathLike,
        path: PathLike,
        *,
        root: PathLike | None = None,
        part: Part = "all",
        weights: PathLike | None = None,
        trust_code: bool = False,
        batch_size: int = 64,
        ann: AnnKind = "auto",
        recall: float = 0.95,
        progress: bool | Console = False,
    ) -> Index:
        """Embed pictures into a new index, or go on with a build that was interrupted.

        Files that cannot be read or decoded are skipped and recorded; see `skipped`.

        Args:
            model: An embedder of `ibc_pyg.load`, a run folder, or the name of a pretrained
                backbone: `timm:NAME`, or one of torchvision such as `resnet50`.
            images: A folder, a CSV file `path,label[,split]`, or, with `root`, the name of a data
                set or `FILE.py:NAME`. The class of a picture in a folder is the folder's name.
            path: The folder of the index: missing, empty, or of an interrupted build.
            root: Folder of the data set.
            part: Images of a CSV file or a data set: all, train, test, query or gallery.
            weights: Local weights of a pretrained backbone; None downloads the published ones.
            trust_code: As for `ibc_pyg.load`.
            batch_size: Number of pictures in a forward pass.
            ann: Kind of search: `exact`; `ivf` or `hnsw`, approximate by inverted lists or a
                graph; `auto` is exact below a measured size and `ivf` above it.
            recall: Recall@10 that is wanted of an approximate search, in (0, 1].
            progress: Show progress on standard error, or on the given console.

        Raises:
            UserError: If the model, the pictures or the folder cannot be used.
        """
        settings = AnnSettings(ann, recall)
        if ann in ("ivf", "hnsw"):
            import_faiss()  # before hours of work
        source, folder = find_source(images, root, part), Path(path)
        check_folder(folder, source)
        listed = list_source(source, trust_code=True)  # the caller named it
        if not listed:
            raise RunError(f"{source} has no pictures")
        embedder = open_model(model, weights=weights, trust_code=trust_code)
        prepare_folder(folder, source, Fingerprint.of(embedder).to_json(), embedder.source)
        index = cls(folder, embedder)
        index.model()  # refuses to go on with another one
        index._update([source], batch_size, progress, listed, settings)
        return index

    def sync(
        self,
        images: PathLike | None = None,
        *,
        root: PathLike | None = None,
        part: Part = "all",
        reembed: bool = False,
        batch_size: int = 64,
        progress: bool | Console = False,
    ) -> SyncReport:
        """Bring the index up to date with its pictures.

        A file of known path, size and time of change is not read; another one is read, and passes
        through the network only if its content is new. Removed pictures stay out.

        Args:
            images: One of the sources of the index; None takes all. A data set of the user's code
                is listed where it is named here, or the index was opened with `trust_code`.
            root: Folder of a data set; see `build`.
            part: As for `build`.
            reembed: First embed all pictures again, if the model is another one.
            batch_size: Number of pictures in a forward pass.
            progress: Show progress on standard error, or on the given console.

        Raises:
            UserError: If pictures or model are missing, or the index cannot be written.
        """
        chosen = self.sources
        if images is not None:
            wanted = find_source(images, root, part)
            chosen = [each for each in chosen if each == wanted]
            if not chosen:
                raise RunError(
                    f"{wanted} is not a source of {printable(self.path)}; add it: {program()} "
                    f"index add, or if it was moved: {program()} index relocate"
                )
        embedded = self._reembed(batch_size, progress) if reembed else 0
        self._update(chosen, batch_size, progress, trust=images is not None)
        self.report.embedded += embedded
        return self.report

    def add(
        self,
        pictures: PathLike | Iterable[PathLike],
        *,
        label: str | None = None,
        root: PathLike | None = None,
        part: Part = "all",
        batch_size: int = 64,
        progress: bool | Console = False,
    ) -> SyncReport:
        """Add pictures, also those that were removed before.

        Args:
            pictures: Picture files, folders or CSV files, one or several; or, with `root`, the
                name of a data set. Folders, CSV files and data sets are kept up to date by `sync`
                from now on.
            label: Class of single files outside the folders of the index.
            root: Folder of a data set; see `build`.
            part: As for `build`.
            batch_size: Number of pictures in a forward pass.
            progress: Show progress on standard error, or on the given console.

        Raises:
            UserError: If a file is missing, or the index cannot be written.
        """
        several = [pictures] if isinstance(pictures, str | os.PathLike) else list(pictures)
        with self._writing() as writer:
            work = replace(self._work(batch_size, progress), whole=False)
            self.report = add_pictures(writer, several, label, root, part, work)
            refresh_ann(writer, _console(progress))
        return self.report

    def remove(
        self,
        paths: PathLike | Iterable[PathLike] = (),
        *,
        label: str | Iterable[str] = (),
        row: int | Iterable[int] = (),
    ) -> int:
        """Remove pictures from the index; their files stay, and `sync` does not bring them back.

        Args:
            paths: Files, or folders with all pictures in them.
            label: Classes.
            row: Rows of `vectors`.

        Returns:
            The number of files removed.

        Raises:
            RunError: If one of the arguments selects nothing, or the index cannot be written.
        """
        files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        labels = [label] if isinstance(label, str) else list(label)
        rows = [row] if isinstance(row, int) else list(row)
        with self._writing() as writer:
            with writer.catalogue.reading() as sql:
                chosen = edit.select(sql, files, labels, rows)
            edit.remove_names(writer, chosen)
        return len(chosen)

    def compact(self, *, progress: bool | Console = False) -> int:
        """Give back the space of vectors that no file has any more; return their number.

        Args:
            progress: Show progress on standard error, or on the given console.

        Raises:
            RunError: If the disk is full, which leaves the index as it is.
        """
        with self._writing() as writer:
            number = edit.compact(writer)
            refresh_ann(writer, _console(progress))
        return number

    def rebuild(
        self,
        ann: AnnKind | None = None,
        recall: float | None = None,
        *,
        progress: bool | Console = False,
    ) -> AnnRecord | None:
        """Build the approximate search again, from all vectors there are.

        Args:
            ann: Kind of search; see `build`. None keeps it.
            recall: Recall@10 that is wanted; None keeps it.
            progress: Show progress on standard error, or on the given console.

        Returns:
            What was built, with its measured recall; None if the search is exact.

        Raises:
            ConfigError: If an argument is out of range.
            RunError: If faiss is not installed, or the index cannot be written.
        """
        with self._writing() as writer:
            with writer.catalogue.reading() as sql:
                stored = AnnSettings.of(sql)
            settings = AnnSettings(ann or stored.kind, stored.recall if recall is None else recall)
            return refresh_ann(writer, _console(progress), settings, rebuild=True)

    def refine(
        self,
        method: str = "dba",
        parameters: Parameters | None = None,
        *,
        progress: bool | Console = False,
    ) -> RefinedRecord | None:
        """Refine the vectors of the pictures by each other, and store them for `search`.

        They are derived from the vectors, stale after any change of the pictures, and may be
        deleted.

        Args:
            method: `dba`; `diffusion`; `refiner`, the trained refiner in the folder of the model;
                or `none` to delete them.
            parameters: Parameters of `dba` or `diffusion`; None takes the defaults.
            progress: Show progress on standard error, or on the given console.

        Returns:
            What was stored; None after `none`.

        Raises:
            ConfigError: If the method is another one, or has no parameters.
            RunError: If there are no pictures, the refiner is missing or of other weights, or the
                index cannot be written.
        """
        with self._writing() as writer:
            if method == "none":
                remove_refined(self.path)
                return None
            folder, console = None, _console(progress)
            if method == REFINER:
                folder = model_folder(self.path, self._given, self.model_source)
            return build_refined(writer, method, parameters, self.fingerprint, console, folder)

    def calibrate(self, *, seed: int = 0) -> Calibration:
        """Find thresholds of similarity from the labelled pictures, and keep them in the index.

        Pairs of classes that the model was not trained on are compared, if there are at least two
        such classes; else those of all classes. From now on hits have `strangers`.

        Args:
            seed: Seed of the drawing of pictures from a large index.

        Returns:
            The thresholds at false-accept rates of 1e-1 to 1e-4, and the classes they are from.

        Raises:
            RunError: If too few pictures have a class, or the model is missing.
        """
        trained = self.model().class_names
        with self._writing() as writer:
            with writer.catalogue.reading() as sql:
                found = make_calibration(sql, writer.map(), self.fingerprint.digest, trained, seed)
            with writer.commit() as sql:
                found.store(sql)
        return found

    def relocate(self, new: PathLike, old: PathLike | None = None) -> tuple[Source, Source]:
        """Tell the index that the folder of its pictures was moved; nothing is embedded.

        Args:
            new: Where the pictures are now.
            old: Where they were; may be left out if there is one source.

        Returns:
            The source before and after.

        Raises:
            RunError: If none of the pictures is there, or it is not clear which source is meant.
        """
        with self._writing() as writer:
            return edit.relocate(writer, Path(new), None if old is None else Path(old))

    def _update(
        self,
        sources: list[Source],
        batch_size: int,
        progress: bool | Console,
        listed: list[Listed] | None = None,
        settings: AnnSettings | None = None,
        *,
        trust: bool = False,
    ) -> None:
        trust = trust or self._trust_code
        self.report, work = SyncReport(), self._work(batch_size, progress)
        with self._writing() as writer:
            for source in sources:
                self.report += sync_source(writer, source, work, listed, trust_code=trust)
            if not writer.state.complete:
                with writer.commit() as sql:
                    write_meta(sql, complete=1)
            refresh_ann(writer, _console(progress), settings)

    def _reembed(self, batch_size: int, progress: bool | Console) -> int:
        embedder = self._open_model()
        fingerprint = Fingerprint.of(embedder)
        if fingerprint.digest == self.fingerprint.digest:
            return 0
        text, place = fingerprint.to_json(), embedder.source
        source = json.dumps(None if place is None else asdict(place))
        with self._writing() as writer:
            console = _console(progress)
            number = reembed(writer, embedder, batch_size, console, model=text, source=source)
        self._embedder, self.fingerprint, self._model_text = embedder, fingerprint, text
        return number

    def _work(self, batch_size: int, progress: bool | Console) -> Work:
        return Work(self.model, batch_size, _console(progress), self.pace)

    def _writing(self) -> AbstractContextManager[StoreWriter]:
        return store_writer(self.path, self.dim)


def _console(progress: bool | Console) -> Console:
    if isinstance(progress, Console):
        return progress
    return Console(stderr=True, quiet=not progress, highlight=False, markup=False)
