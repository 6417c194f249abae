-- The worklist of doubtful intervals, imports of readings that can be undone, and formulas of virtual meters.
-- depends: 0101.metering-ledger

-- One open finding per check and place. Whoever deals with it leaves name, time and reason.
CREATE TABLE app.vee_finding (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    register_id bigint NOT NULL REFERENCES app.register,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL CHECK (ends_at > starts_at),
    check_name text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'edited', 'estimated', 'gone')),
    found_at timestamptz NOT NULL,
    settled_at timestamptz,
    settled_by text,
    reason text,
    UNIQUE (register_id, check_name, starts_at)
);
CREATE INDEX vee_finding_open ON app.vee_finding (organisation_id, starts_at) WHERE state = 'open';
SELECT app.protect_by_organisation('app.vee_finding');

-- A file of readings. Its readings name it, so that the whole can be undone.
CREATE TABLE app.reading_import (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    file_name text NOT NULL,
    format text NOT NULL,
    sha256 bytea NOT NULL,
    row_count integer NOT NULL,
    actor text NOT NULL,
    imported_at timestamptz NOT NULL,
    undone_at timestamptz,
    undone_by text
);
CREATE UNIQUE INDEX reading_import_once ON app.reading_import (organisation_id, sha256) WHERE undone_at IS NULL;
SELECT app.protect_by_organisation('app.reading_import');
ALTER TABLE app.reading ADD COLUMN import_id bigint REFERENCES app.reading_import;
CREATE INDEX reading_import_rows ON app.reading (import_id) WHERE import_id IS NOT NULL;

-- Undoing an import removes its readings again; the ledger must learn of that too.
CREATE FUNCTION app.reading_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
    SELECT register_id, min(taken_at), max(taken_at) FROM old_reading GROUP BY register_id;
    RETURN NULL;
END $$;
CREATE TRIGGER reading_removed AFTER DELETE ON app.reading
    REFERENCING OLD TABLE AS old_reading FOR EACH STATEMENT EXECUTE FUNCTION app.reading_removed();

-- A meter that is computed: the sum of its terms, each another meter times a factor (negative to subtract). A cycle is
-- refused by the service that writes it and again by the one that evaluates it.
CREATE TABLE app.meter_term (
    meter_id bigint NOT NULL REFERENCES app.meter ON DELETE CASCADE,
    input_meter_id bigint NOT NULL REFERENCES app.meter,
    factor numeric NOT NULL DEFAULT 1 CHECK (factor <> 0),
    PRIMARY KEY (meter_id, input_meter_id),
    CHECK (meter_id <> input_meter_id)
);
