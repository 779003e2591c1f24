"""SQLite, PostgreSQL and MySQL through SQLAlchemy: connecting, the tables, and what to do when one is busy or away."""

from __future__ import annotations

import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lib_astolfo.errors import BadInput, Failed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

T = TypeVar("T")

WAITING_SECONDS = 60.0  # for a database that is busy or away for a moment
PART = 1 << 20  # bytes of a picture in one row: MySQL's largest packet may be 4 MB, as text of twice the size
DRIVERS = {"postgres": "postgresql+psycopg2", "postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql"}
DRIVERS |= {"sqlite": "sqlite", "mariadb": "mysql+pymysql"}
NEEDED = "SQLAlchemy, and psycopg2-binary for PostgreSQL or PyMySQL for MySQL"
#: The seconds of the database's own clock.
CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp())::double precision",
    "mysql": "UNIX_TIMESTAMP(NOW(6)) + 0e0",
}


@dataclass(frozen=True)
class Worker:
    """A process. ``name`` says machine, process and when it began, so that a dead one is known on its own machine."""

    machine: str
    process: int
    began: str
    mark: str

    @classmethod
    def here(cls) -> Worker:
        """This process; every call is a worker of its own."""
        return cls(machine(), os.getpid(), _began(os.getpid()), uuid.uuid4().hex[:8])

    @property
    def name(self) -> str:
        return f"{self.machine}|{self.process}|{self.began}|{self.mark}"

    def knows_dead(self, name: str) -> bool:
        """Whether another worker was a process of this machine and is none any more."""
        parts = name.split("|")
        if len(parts) != 4 or parts[0] != self.machine or not parts[1].isdigit() or not parts[2]:
            return False
        return _began(int(parts[1])) != parts[2]


def machine() -> str:
    """The name of this machine since it was started."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()[:8]
        boot += "-" + os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        boot = ""
    return f"{socket.gethostname()}-{boot}"[:100].replace("|", "_")


def _began(process: int) -> str:
    """When a process began, "" if there is none of this number or it is over."""
    import psutil  # type: ignore[import-untyped]

    try:
        found = psutil.Process(process)
        return "" if found.status() == psutil.STATUS_ZOMBIE else f"{found.create_time():.2f}"
    except psutil.Error:
        return ""


def connect(url: str) -> Engine:
    """Errors: BadInput naming the URL without its password, Failed."""
    try:
        import sqlalchemy
        from sqlalchemy.engine import make_url
        from sqlalchemy.pool import NullPool
    except ImportError as error:
        raise Failed(f"a search needs {NEEDED}: {error}") from error
    try:
        given = make_url(url)
        driver = given.drivername.split("+")[0]
    except (sqlalchemy.exc.ArgumentError, ValueError, AttributeError) as error:
        raise BadInput("study", "no URL of a database", "sqlite:///file.db or postgresql://user@host/name") from error
    if driver not in DRIVERS:
        raise BadInput("study", repr(driver), "a URL of sqlite, postgresql or mysql")
    if "+" not in given.drivername:
        given = given.set(drivername=DRIVERS[driver])
    options: dict[str, Any] = {"poolclass": NullPool}
    if driver == "sqlite":
        options["connect_args"] = {"timeout": WAITING_SECONDS}
    try:
        return sqlalchemy.create_engine(given, **options)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        raise Failed(f"study {given.render_as_string(hide_password=True)}: {error}; needed: {NEEDED}") from error


def tables(engine: Engine) -> tuple[Table, Table, Table]:
    """Studies, cells, and the cells' pictures in parts, made where they are missing."""
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql

    long = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
    blob = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
    about = sa.MetaData()
    studies = sa.Table(
        "astolfo_studies", about, sa.Column("name", sa.String(190), primary_key=True), sa.Column("settings", long)
    )
    cells = sa.Table(
        "astolfo_cells",
        about,
        sa.Column("study", sa.String(190), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("cell", long, nullable=False),
        sa.Column("weights", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("beat", sa.Double, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("result", long),
        sa.UniqueConstraint("study", "key", name="astolfo_cells_once"),
    )
    parts = sa.Table(
        "astolfo_pictures",
        about,
        sa.Column("study", sa.String(190), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("worker", sa.String(200), primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", blob, nullable=False),
    )
    _patient(lambda: _create(engine, about))
    return studies, cells, parts


def _create(engine: Engine, about: Any) -> None:
    """Make the tables; that another process makes them at the same moment is no harm."""
    import sqlalchemy as sa

    try:
        about.create_all(engine)
    except sa.exc.DBAPIError:
        inspector = sa.inspect(engine)
        if not all(inspector.has_table(name) for name in about.tables):
            raise


def now(engine: Engine) -> Any:
    """The database's clock in seconds, as an expression."""
    import sqlalchemy as sa

    return sa.literal_column(CLOCKS[engine.dialect.name.replace("mariadb", "mysql")], sa.Double)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection to read through."""
    connection = _patient(engine.connect)
    try:
        yield connection
    finally:
        connection.close()


def insert(engine: Engine, table: Table, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Add all rows in one transaction; False if one of them is there already, and then none is added."""
    import sqlalchemy as sa

    def add() -> bool:
        try:
            with engine.begin() as connection:
                connection.execute(table.insert(), [dict(row) for row in rows])
        except sa.exc.IntegrityError:
            return False
        return True

    return _patient(add)


def change(engine: Engine, statement: Any) -> int:
    """Carry out an UPDATE in a transaction of its own; how many rows it changed."""

    def carry_out() -> int:
        with engine.begin() as connection:
            return int(connection.execute(statement).rowcount)

    return _patient(carry_out)


def _patient(work: Callable[[], T]) -> T:
    """Try again while the database is locked or away, for a minute. Errors: Failed."""
    import sqlalchemy as sa

    end, pause = time.monotonic() + WAITING_SECONDS, 0.05
    while True:
        try:
            return work()
        except (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.InterfaceError) as error:
            if time.monotonic() > end:
                raise Failed(f"the study's database: {str(error.orig or error).splitlines()[0]}") from error
        time.sleep(pause * (0.5 + random.random()))
        pause = min(2 * pause, 2.0)
