-- Limits on single points, judged the moment an observation is stored.

-- What ingest stored and the evaluator of limits has not judged yet: one row per batch, taken away by deleting it.
-- `content` holds columns (telemetry/arrivals.py); it is neither compressed nor kept.
CREATE TABLE app.observation_arrival (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE app.observation_arrival ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE app.point_limit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    point_id bigint NOT NULL REFERENCES app.point ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('above', 'below', 'equals', 'step')),
    severity smallint NOT NULL CHECK (severity BETWEEN 1 AND 4),
    value double precision NOT NULL CHECK (value <> 'NaN'),
    -- The alarm ends beyond this value, not at the limit itself; the same as `value` where there is no band.
    clear_value double precision NOT NULL CHECK (clear_value <> 'NaN'),
    on_delay_s integer NOT NULL DEFAULT 0 CHECK (on_delay_s BETWEEN 0 AND 86400),
    off_delay_s integer NOT NULL DEFAULT 0 CHECK (off_delay_s BETWEEN 0 AND 86400),
    is_latching boolean NOT NULL DEFAULT false,
    -- What was observed before counts as the state at this instant, not as history.
    valid_from timestamptz NOT NULL,
    -- Observations have arrived that belong before what was judged: judge again from here.
    late_from timestamptz,
    set_by text NOT NULL,
    UNIQUE (point_id, kind, severity),
    CHECK (kind <> 'above' OR clear_value <= value),
    CHECK (kind <> 'below' OR clear_value >= value),
    CHECK (kind NOT IN ('equals', 'step') OR clear_value = value),
    CHECK (kind <> 'step' OR value > 0)
);
SELECT app.protect_by_organisation('app.point_limit');
CREATE INDEX point_limit_late ON app.point_limit (late_from) WHERE late_from IS NOT NULL;

-- How a condition alarms where its rule does not say so itself: delays of a limit, latching.
ALTER TABLE app.alarm ADD COLUMN policy jsonb;
-- Late data showed that the condition had not held: what people were told stays on record.
ALTER TABLE app.alarm_occurrence ADD COLUMN is_disproved boolean NOT NULL DEFAULT false;
