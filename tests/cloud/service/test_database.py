"""The schema, its migrations, and the store on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import SQLAlchemyError

from ktl.cloud.service.answers import Seconds
from ktl.cloud.service.database import READY_SECONDS, Database
from ktl.cloud.service.models import PIECE_BYTES, Base, Token
from ktl.cloud.service.refusals import Refused
from ktl.cloud.service.store import Opening, Store
from ktl.cloud.service.tokens import Tokens
from ktl.errors import KtlError, UsageError

from .conftest import Start, prototypes

OPENING = Opening(owner="o", idempotency_key="k", request=b'{"seed":1}', reply=b'{"fingerprint":"f"}')
SECONDS = Seconds(alignment=0.1, generation=0.2)


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_an_upgrade_of_an_upgraded_database_changes_nothing(store: Store, database: Database) -> None:
    session, _, _ = store.open_session(OPENING)
    database.upgrade()
    assert store.session(session).owner == "o"


def test_a_session_from_opening_to_deletion(store: Store) -> None:
    Tokens(store.database).create("B", "edge")
    session, reply, new = store.open_session(replace(OPENING, quorum=2, members=("B",)))
    assert (reply, new) == (OPENING.reply, True)
    assert store.open_session(replace(OPENING, quorum=2, members=("B",))) == (session, reply, False)
    first, new = store.put_prototypes(session, 1, "a", b"A", "o", "o")
    assert (first.state, first.edges_missing, new) == ("collecting", 1, True)
    assert store.jobs.claim("s") is None
    second, _ = store.put_prototypes(session, 1, "B", b"B", "B", "B")
    assert (second.state, second.edges_in) == ("queued", ["B", "a"])
    assert store.put_prototypes(session, 1, "B", b"B", "B", "B")[1] is False
    claim = store.jobs.claim("s")
    assert claim is not None
    assert (claim.session, claim.round, claim.owner) == (session, 1, "o")
    assert store.jobs.claim("s") is None
    assert store.jobs.uploads(session, 1, 1) == [[b"B", b"A"]]  # by the names' bytes, whatever the database's language
    payload = bytes(range(256)) * 3000
    assert store.jobs.finish(claim, payload, 7, SECONDS)
    assert not store.jobs.finish(claim, payload, 7, SECONDS)
    stored = store.stored(session, 1)
    assert b"".join(store.read(stored, 0, stored.size)) == payload
    middle = slice(PIECE_BYTES - 5, 2 * PIECE_BYTES + 5)
    assert b"".join(store.read(stored, middle.start, middle.stop)) == payload[middle]
    state = store.round(session, 1, "B")
    assert (state.state, state.pairs, state.bytes, state.seconds) == ("done", 7, len(payload), SECONDS)
    assert store.stored_bytes() > len(payload)
    with pytest.raises(Refused, match="only the token that opened a session"):
        store.delete_session(session, "B")
    store.delete_session(session, "o")
    assert store.stored_bytes() == 0
    assert list(store.read(stored, 0, stored.size)) == []


def test_of_uploads_that_come_at_once_exactly_one_completes_the_quorum(store: Store) -> None:
    session, _, _ = store.open_session(replace(OPENING, quorum=16))

    def upload(i: int) -> str:
        return store.put_prototypes(session, 1, f"edge-{i}", b"x%d" % i, "o", "o")[0].state

    with ThreadPoolExecutor(16) as threads:
        states = list(threads.map(upload, range(16)))
    assert sorted(states) == ["collecting"] * 15 + ["queued"]
    assert len(store.round(session, 1).edges_in) == 16
    with pytest.raises(Refused, match="round 1 went on without this edge"):
        store.put_prototypes(session, 1, "late", b"x", "o", "o")


def test_openings_with_one_key_that_come_at_once_open_one_session(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: store.open_session(OPENING), range(8)))
    assert len({session for session, _, _ in opened}) == 1
    assert sum(new for _, _, new in opened) == 1


def test_deadlines_are_looked_after(store: Store) -> None:
    session, _, _ = store.open_session(replace(OPENING, quorum=3, deadline=0.5))
    assert store.jobs.close_due() == []
    store.put_prototypes(session, 1, "a", b"A", "o", "o")
    assert store.jobs.close_due() == []
    time.sleep(0.6)
    assert store.jobs.close_due() == [(session, 1)]
    assert store.jobs.close_due() == []
    assert store.round(session, 1).state == "queued"


def test_sessions_expire_by_the_time_nothing_happened_in_them(store: Store) -> None:
    old, _, _ = store.open_session(OPENING)
    time.sleep(0.5)
    fresh, _, _ = store.open_session(replace(OPENING, idempotency_key="k2"))
    assert store.collect_garbage(0.4) == 1
    assert [session.id for session in store.sessions(None)] == [fresh]
    assert old != fresh


def test_a_whole_round_on_postgresql(start: Start, postgresql: str) -> None:
    with start() as cloud:
        session = cloud.client().opened()
        client = cloud.client()
        client.put(session, prototypes())
        expected = client.pairs(session).content
    with start(database=postgresql) as cloud:
        client = cloud.client()
        session = client.opened()
        assert client.put(session, prototypes()).status_code == 201
        assert client.pairs(session).content == expected


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:x/y", "nonsense", "postgresql://"])
def test_a_database_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="--database"):
        Database(url)


def test_a_database_of_a_later_release_is_left_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'later.db'}")
    database.upgrade()
    with database.write() as rows:
        rows.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(KtlError, match=r"later\.db cannot be used .*9999"):
        database.upgrade()


def test_programs_that_begin_at_once_on_an_empty_database_upgrade_it_once(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    with database.engine.begin() as connection:
        for table in (*(each.name for each in reversed(Base.metadata.sorted_tables)), "alembic_version"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: Database(url).upgrade(), range(4)))
    database.check()


def test_what_a_server_uses_is_opened_and_neither_made_nor_upgraded(tmp_path: Path) -> None:
    file = tmp_path / "cloud.db"
    with pytest.raises(UsageError, match=r"--database file .*cloud\.db cannot be opened: No such file"):
        Database(f"sqlite:///{file}", new=False)
    assert not file.exists()
    with pytest.raises(KtlError, match=r"cloud\.db holds nothing of ktl's: name the server's --database"):
        Database(f"sqlite:///{file}").check()
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    database.check()
    with database.write() as rows:
        rows.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'r0001'")
    with pytest.raises(KtlError, match="is of another release of ktl"):
        database.check()


def test_deleted_rows_give_their_room_back(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    database = Database(f"sqlite:///{file}")
    database.upgrade()
    store = Store(database)
    session, _, _ = store.open_session(OPENING)
    store.put_prototypes(session, 1, "a", bytes(10_000_000), "o", "o")
    database.compact()
    large = file.stat().st_size
    store.delete_session(session, "o")
    database.compact()
    assert large > 10_000_000
    assert file.stat().st_size < 200_000


def test_an_error_tells_no_value_of_a_row(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'store.db'}")
    database.upgrade()
    with pytest.raises(SQLAlchemyError, match="NOT NULL") as caught, database.write() as rows:
        rows.add(Token(id="x", name="secret-name", scope="edge", salt=b"secret-salt", hash=None, created_at=0.0))
    assert "secret" not in str(caught.value)


def test_a_database_that_hangs_is_not_ready(postgresql: str) -> None:
    database = Database(postgresql)
    database.upgrade()
    assert database.ready()
    with database.engine.connect() as blocking, blocking.begin():
        blocking.exec_driver_sql("LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE")
        asking = threading.Thread(target=database.ready)
        asking.start()
        time.sleep(0.2)
        began = time.monotonic()
        assert not database.ready()
        assert time.monotonic() - began < READY_SECONDS + 1
    asking.join(10)
    assert database.ready()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, " * 100)
    with pytest.raises(KtlError, match=r"cannot be used .*not a database"):
        Database(f"sqlite:///{file}").upgrade()
    assert file.read_text() == "not a database, " * 100
