-- The length of a meter's intervals by instant: the ledger before a change keeps its length.
-- depends: 0162.metering-gaps 0152.ingest-sparkplug-failures

-- From an instant on, until the next change; where none holds, `meter.interval_minutes` does. Changes lie on full hours, at
-- which intervals of every length begin, so that no interval is cut, whatever is undone.
CREATE TABLE app.meter_length (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    meter_id bigint NOT NULL REFERENCES app.meter,
    valid tstzrange NOT NULL CHECK (NOT isempty(valid) AND lower(valid) = date_bin('1 hour', lower(valid), 'epoch')),
    minutes smallint NOT NULL CHECK (minutes IN (1, 5, 15, 30, 60)),
    reason text NOT NULL,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    undone_at timestamptz,
    CONSTRAINT one_length_at_a_time
        EXCLUDE USING gist (int8range(meter_id, meter_id, '[]') WITH &&, valid WITH &&) WHERE (undone_at IS NULL)
);
CREATE INDEX meter_length_meter ON app.meter_length (meter_id) WHERE undone_at IS NULL;
SELECT app.protect_by_organisation('app.meter_length');

CREATE FUNCTION app.interval_minutes_at(p_meter_id bigint, p_at timestamptz) RETURNS smallint LANGUAGE sql STABLE
    RETURN coalesce((SELECT l.minutes FROM app.meter_length l
                      WHERE l.meter_id = p_meter_id AND l.undone_at IS NULL AND l.valid @> p_at),
                    (SELECT m.interval_minutes FROM app.meter m WHERE m.id = p_meter_id));

-- As [[seconds since 1970 or null, minutes], …] in order of time: what holds from when on.
CREATE FUNCTION app.interval_lengths(p_meter_id bigint, p_first smallint) RETURNS jsonb LANGUAGE sql STABLE
    RETURN jsonb_build_array(jsonb_build_array(NULL, p_first)) || coalesce(
        (SELECT jsonb_agg(jsonb_build_array(extract(epoch FROM lower(l.valid))::bigint, l.minutes) ORDER BY l.valid)
           FROM app.meter_length l WHERE l.meter_id = p_meter_id AND l.undone_at IS NULL), '[]');

-- How many intervals a stretch has; it begins and ends on their edges.
CREATE FUNCTION app.interval_count(p_meter_id bigint, p_first_length smallint, p_start timestamptz, p_end timestamptz)
RETURNS integer LANGUAGE sql STABLE
    RETURN (SELECT coalesce(sum(extract(epoch FROM upper(l.valid) - lower(l.valid)) / 60 / l.minutes), 0)
                   + extract(epoch FROM coalesce(min(lower(l.valid)), p_end) - p_start) / 60 / p_first_length
              FROM (SELECT x.valid * tstzrange(p_start, p_end) AS valid, x.minutes FROM app.meter_length x
                     WHERE x.meter_id = p_meter_id AND x.undone_at IS NULL
                       AND x.valid && tstzrange(p_start, p_end)) l)::integer;

-- From the change on everything is computed again; where the change before ended, nothing is.
CREATE FUNCTION app.length_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
    SELECT r.id, lower(NEW.valid), coalesce(upper(NEW.valid), 'infinity')
      FROM app.register r
     WHERE r.meter_id = NEW.meter_id AND r.open_period && NEW.valid;
    RETURN NULL;
END $$;
CREATE TRIGGER length_changed AFTER INSERT OR UPDATE OF undone_at ON app.meter_length
    FOR EACH ROW EXECUTE FUNCTION app.length_changed();

CREATE OR REPLACE FUNCTION app.mark_dirty(
    p_point_id bigint[], p_first timestamptz[], p_last timestamptz[], p_settled_before timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO app.dirty_range (register_id, starts_at, ends_at)
    SELECT r.id, t.first, t.last
      FROM unnest(p_point_id, p_first, p_last) AS t(point_id, first, last)
      JOIN app.register r ON r.point_id = t.point_id AND r.open_period && tstzrange(t.first, t.last, '[]')
      JOIN app.meter m ON m.id = r.meter_id
      LEFT JOIN app.meter_length l ON l.meter_id = m.id AND l.undone_at IS NULL AND l.valid @> t.first
     CROSS JOIN LATERAL make_interval(mins => coalesce(l.minutes, m.interval_minutes)) length
     CROSS JOIN LATERAL date_bin(length, t.first, timestamptz 'epoch') slot(starts_at)
     WHERE slot.starts_at + length <= p_settled_before
        OR NOT EXISTS (SELECT 1 FROM app.dirty_range d
                        WHERE d.register_id = r.id AND d.starts_at BETWEEN slot.starts_at AND t.first
                          FOR KEY SHARE SKIP LOCKED);
END $$;
