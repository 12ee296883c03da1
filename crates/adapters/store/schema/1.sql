-- Whole records are JSON: only what is searched or compared stands in a column of its own.

-- A row stays when its cluster is removed: the generation must never go back.
CREATE TABLE lease (
    cluster    TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    held       TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE cluster (
    name     TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    record   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
    cluster  TEXT NOT NULL,
    name     TEXT NOT NULL,
    revision INTEGER NOT NULL,
    record   TEXT NOT NULL,
    PRIMARY KEY (cluster, name)
) STRICT, WITHOUT ROWID;

-- Open intents only, in the order in which they were begun.
CREATE TABLE intent (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster TEXT NOT NULL,
    id      TEXT NOT NULL,
    record  TEXT NOT NULL,
    UNIQUE (cluster, id)
) STRICT;

CREATE TABLE event (
    cluster TEXT NOT NULL,
    number  INTEGER NOT NULL,
    event   TEXT NOT NULL,
    PRIMARY KEY (cluster, number)
) STRICT, WITHOUT ROWID;
