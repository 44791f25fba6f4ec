-- Tables of ours in state.db. 0.19.0 neither reads nor drops them. Times are seconds since the epoch.

-- One row per event that came in; see `inbox.rs` for the states.
CREATE TABLE IF NOT EXISTS hermes_inbox (
    id INTEGER PRIMARY KEY,
    platform TEXT NOT NULL,
    scope TEXT,
    dedup_id TEXT,
    session_key TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    payload TEXT,
    received_at REAL NOT NULL,
    owner_pid INTEGER,
    owner_start INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    session_id TEXT,
    finished_at REAL,
    error TEXT,
    suspect INTEGER NOT NULL DEFAULT 0,
    postponed INTEGER NOT NULL DEFAULT 0,
    postponed_at REAL,
    due_at REAL,
    fault TEXT,
    taken_down INTEGER NOT NULL DEFAULT 0,
    busy TEXT,
    preview_id TEXT,
    preview_at REAL
);
CREATE UNIQUE INDEX IF NOT EXISTS hermes_inbox_dedup
    ON hermes_inbox(platform, scope, dedup_id) WHERE dedup_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS hermes_inbox_live ON hermes_inbox(session_key, id) WHERE finished_at IS NULL;
CREATE INDEX IF NOT EXISTS hermes_inbox_waiting ON hermes_inbox(id) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS hermes_inbox_interrupt
    ON hermes_inbox(session_key) WHERE busy = 'interrupt' AND state = 'queued';
CREATE INDEX IF NOT EXISTS hermes_inbox_suspect ON hermes_inbox(id) WHERE suspect > 0 AND finished_at IS NULL;
CREATE INDEX IF NOT EXISTS hermes_inbox_postponed ON hermes_inbox(due_at) WHERE state = 'postponed';
CREATE INDEX IF NOT EXISTS hermes_inbox_steered ON hermes_inbox(session_key) WHERE state = 'steered';
CREATE INDEX IF NOT EXISTS hermes_inbox_failed ON hermes_inbox(finished_at) WHERE state = 'failed';
CREATE INDEX IF NOT EXISTS hermes_inbox_finished ON hermes_inbox(finished_at) WHERE finished_at IS NOT NULL;

-- Processes that run turns, and whether their end was planned; see `inbox/life.rs`.
CREATE TABLE IF NOT EXISTS hermes_life (
    pid INTEGER NOT NULL,
    start INTEGER NOT NULL,
    supervisor_pid INTEGER,
    supervisor_start INTEGER,
    planned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (pid, start)
) WITHOUT ROWID;

-- Who runs a session's turn. Void when that process is gone. `conversation_id` and `holder` are those of the turn's row in
-- `session_turn_leases`, which is shared with other programs.
CREATE TABLE IF NOT EXISTS hermes_lease (
    session_key TEXT PRIMARY KEY,
    owner_pid INTEGER NOT NULL,
    owner_start INTEGER NOT NULL,
    taken_at REAL NOT NULL,
    conversation_id TEXT,
    holder TEXT
) WITHOUT ROWID;

-- What turns have asked and wait for; see `questions.rs`. `scope` is a session key, or the id of a run.
CREATE TABLE IF NOT EXISTS hermes_question (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    asked_at REAL NOT NULL,
    until REAL NOT NULL,
    answer TEXT
);

-- Runs of the API; see `runs.rs`. `status` is that of one that is over; before, its item of the inbox says how far it is, by its id.
CREATE TABLE IF NOT EXISTS hermes_run (
    id TEXT PRIMARY KEY,
    platform TEXT NOT NULL,
    session_id TEXT NOT NULL,
    model TEXT NOT NULL,
    request TEXT,
    idempotency_key TEXT,
    fingerprint TEXT,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    stop_at REAL,
    status TEXT,
    output TEXT,
    finish_reason TEXT,
    error TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    ended_at REAL,
    last_event TEXT,
    events INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    steers TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS hermes_run_key ON hermes_run(idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS hermes_run_live ON hermes_run(id) WHERE status IS NULL;
CREATE INDEX IF NOT EXISTS hermes_run_ended ON hermes_run(ended_at) WHERE ended_at IS NOT NULL;

-- What has happened in them, as clients read it.
CREATE TABLE IF NOT EXISTS hermes_run_event (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

-- What agents of the engine `acp` know of sessions; see `engine/acp/known.rs`.
CREATE TABLE IF NOT EXISTS hermes_agent_session (
    session_id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    theirs TEXT NOT NULL,
    texts INTEGER NOT NULL,
    digest TEXT NOT NULL,
    answer TEXT NOT NULL,
    instructions TEXT NOT NULL,
    used_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS hermes_agent_session_used ON hermes_agent_session(used_at);

-- Answers on their way out: pending, sending, done, failed; see `delivery/ledger.rs` for lanes, whose heads alone have a time,
-- keys and what is ambiguous.
CREATE TABLE IF NOT EXISTS hermes_delivery (
    id INTEGER PRIMARY KEY,
    session_id TEXT,
    platform TEXT NOT NULL,
    chat_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    extra TEXT NOT NULL,
    content TEXT,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL,
    created_at REAL NOT NULL,
    finished_at REAL,
    owner_pid INTEGER,
    owner_start INTEGER,
    last_error TEXT,
    lane TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL DEFAULT '',
    sent INTEGER NOT NULL DEFAULT 0,
    ambiguous INTEGER NOT NULL DEFAULT 0,
    message_id TEXT,
    preview_id TEXT,
    fresh INTEGER NOT NULL DEFAULT 0,
    file TEXT,
    form INTEGER NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS hermes_delivery_lane ON hermes_delivery(lane, id) WHERE finished_at IS NULL;
CREATE INDEX IF NOT EXISTS hermes_delivery_open ON hermes_delivery(next_attempt_at) WHERE finished_at IS NULL;
CREATE INDEX IF NOT EXISTS hermes_delivery_sending ON hermes_delivery(id) WHERE state = 'sending';
CREATE INDEX IF NOT EXISTS hermes_delivery_failed ON hermes_delivery(finished_at) WHERE state = 'failed';
CREATE INDEX IF NOT EXISTS hermes_delivery_finished ON hermes_delivery(finished_at) WHERE finished_at IS NOT NULL;
