-- What the ledger knows of a register beside its readings, what people decided, and sums by local day.
-- depends: 0100.telemetry-observations

ALTER TABLE app.register ADD COLUMN is_delta boolean NOT NULL DEFAULT false;
ALTER TABLE app.meter ADD COLUMN gap_minutes integer CHECK (gap_minutes > 0);

-- The counter was set anew: it stopped at one value and began at another. Without stop_value that part is not known.
CREATE TABLE app.register_reset (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    register_id bigint NOT NULL REFERENCES app.register,
    at timestamptz NOT NULL,
    stop_value numeric,
    start_value numeric NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    undone_at timestamptz
);
CREATE UNIQUE INDEX register_reset_instant ON app.register_reset (register_id, at) WHERE undone_at IS NULL;

-- Ratio of current and voltage transformers, unit factors and wiring corrections, by instant; where none holds, the
-- register's own multiplier does.
CREATE TABLE app.register_multiplier (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    register_id bigint NOT NULL REFERENCES app.register,
    valid tstzrange NOT NULL CHECK (NOT isempty(valid)),
    multiplier numeric NOT NULL CHECK (multiplier <> 0),
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    undone_at timestamptz,
    CONSTRAINT one_multiplier_at_a_time
        EXCLUDE USING gist (int8range(register_id, register_id, '[]') WITH &&, valid WITH &&) WHERE (undone_at IS NULL)
);

-- A reading that a person declared wrong. The reading stays; the ledger no longer uses it.
CREATE TABLE app.reading_exclusion (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    register_id bigint NOT NULL REFERENCES app.register,
    taken_at timestamptz NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    undone_at timestamptz
);
CREATE UNIQUE INDEX reading_exclusion_instant ON app.reading_exclusion (register_id, taken_at) WHERE undone_at IS NULL;

-- A quantity that a person decided for an interval; it outlives recomputation until it is undone.
CREATE TABLE app.interval_edit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    register_id bigint NOT NULL REFERENCES app.register,
    starts_at timestamptz NOT NULL,
    quantity numeric NOT NULL,
    method text NOT NULL DEFAULT 'edit',
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    undone_at timestamptz
);
CREATE UNIQUE INDEX interval_edit_start ON app.interval_edit (register_id, starts_at) WHERE undone_at IS NULL;

-- Whatever a person decides about a register recomputes what it touches, whichever package writes it.
CREATE FUNCTION app.register_fact_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz;
    last timestamptz;
BEGIN
    IF TG_TABLE_NAME = 'register_multiplier' THEN
        first := coalesce(lower(NEW.valid), '-infinity');
        last := coalesce(upper(NEW.valid), 'infinity');
    ELSIF TG_TABLE_NAME = 'register_reset' THEN
        first := NEW.at;
        last := NEW.at;
    ELSIF TG_TABLE_NAME = 'interval_edit' THEN
        first := NEW.starts_at;
        last := NEW.starts_at;
    ELSE
        first := NEW.taken_at;
        last := NEW.taken_at;
    END IF;
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at) VALUES (NEW.register_id, first, last);
    RETURN NULL;
END $$;
CREATE TRIGGER reset_changed AFTER INSERT OR UPDATE ON app.register_reset
    FOR EACH ROW EXECUTE FUNCTION app.register_fact_changed();
CREATE TRIGGER multiplier_changed AFTER INSERT OR UPDATE ON app.register_multiplier
    FOR EACH ROW EXECUTE FUNCTION app.register_fact_changed();
CREATE TRIGGER exclusion_changed AFTER INSERT OR UPDATE ON app.reading_exclusion
    FOR EACH ROW EXECUTE FUNCTION app.register_fact_changed();
CREATE TRIGGER edit_changed AFTER INSERT OR UPDATE ON app.interval_edit
    FOR EACH ROW EXECUTE FUNCTION app.register_fact_changed();

-- Sums of the ledger by local day of the site, for charts over months and years; kept in the ledger's transactions.
CREATE TABLE app.interval_day (
    register_id bigint NOT NULL REFERENCES app.register,
    day date NOT NULL,
    quantity numeric NOT NULL,
    interval_count integer NOT NULL,
    estimated_count integer NOT NULL,
    missing_count integer NOT NULL,
    PRIMARY KEY (register_id, day)
);

-- Intervals that had a value and got another one: who used the old value must know. `transaction_id` as in app.event.
CREATE TABLE app.ledger_change (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    register_id bigint NOT NULL REFERENCES app.register,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX ledger_change_register ON app.ledger_change (register_id, starts_at);
