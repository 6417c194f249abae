-- Days of the interval ledger in packed form, and all that is derived from the ledger kept by the database itself.
-- depends: 0103.metering-upload

-- One UTC day of a register: what reads months of thousands of registers reads one row instead of ninety-six. The parts
-- are parallel columns of big-endian integers, as numpy and int8send write them, in order of time:
--   minutes     two bytes each, from the start of the UTC day to the start of the interval
--   mantissas   eight bytes each: quantity = mantissa * 10^-scale, exactly; null if one of them needs more
--   grades      one byte each: 0 actual, 1 estimated, 2 edited, 3 missing
-- app.interval remains the truth; a trigger keeps this true in the same transaction.
CREATE TABLE app.interval_pack (
    register_id bigint NOT NULL REFERENCES app.register,
    day date NOT NULL,
    scale smallint NOT NULL,
    minutes bytea NOT NULL,
    mantissas bytea,
    grades bytea NOT NULL,
    PRIMARY KEY (register_id, day)
) WITH (fillfactor = 80);

-- Packs days anew from their intervals.
CREATE FUNCTION app.pack_days(register_ids bigint[], days date[]) RETURNS void LANGUAGE sql AS $$
    WITH asked AS (
        SELECT t.register_id, t.day, t.day::timestamp AT TIME ZONE 'UTC' AS first,
               (t.day + 1)::timestamp AT TIME ZONE 'UTC' AS after
          FROM unnest(register_ids, days) AS t(register_id, day)
    ), packed AS (
        SELECT a.register_id, a.day, s.scale, p.minutes, p.mantissas, p.grades
          FROM asked a
         CROSS JOIN LATERAL (
               SELECT max(min_scale(i.quantity)) AS scale,
                      max(abs(i.quantity)) * power(10::numeric, max(min_scale(i.quantity))) < 9e18 AS fits
                 FROM app.interval i
                WHERE i.register_id = a.register_id AND i.starts_at >= a.first AND i.starts_at < a.after) s
         CROSS JOIN LATERAL (
               SELECT string_agg(int2send((extract(epoch FROM i.starts_at - a.first) / 60)::smallint), ''
                                 ORDER BY i.starts_at) AS minutes,
                      string_agg(CASE WHEN s.fits THEN int8send((i.quantity * power(10::numeric, s.scale))::bigint) END,
                                 '' ORDER BY i.starts_at) AS mantissas,
                      string_agg(CASE i.quality WHEN 'actual' THEN '\x00'::bytea WHEN 'estimated' THEN '\x01'::bytea
                                                WHEN 'edited' THEN '\x02'::bytea ELSE '\x03'::bytea END,
                                 '' ORDER BY i.starts_at) AS grades
                 FROM app.interval i
                WHERE i.register_id = a.register_id AND i.starts_at >= a.first AND i.starts_at < a.after) p
    ), gone AS (
        DELETE FROM app.interval_pack k USING packed p
         WHERE p.minutes IS NULL AND k.register_id = p.register_id AND k.day = p.day
    )
    INSERT INTO app.interval_pack AS k (register_id, day, scale, minutes, mantissas, grades)
    SELECT register_id, day, scale, minutes, mantissas, grades FROM packed WHERE minutes IS NOT NULL
    ON CONFLICT (register_id, day) DO UPDATE
       SET scale = EXCLUDED.scale, minutes = EXCLUDED.minutes, mantissas = EXCLUDED.mantissas, grades = EXCLUDED.grades
     WHERE (k.scale, k.minutes, k.mantissas, k.grades)
           IS DISTINCT FROM (EXCLUDED.scale, EXCLUDED.minutes, EXCLUDED.mantissas, EXCLUDED.grades);
$$;

-- Sums local days of the sites anew from their intervals.
CREATE FUNCTION app.sum_days(register_ids bigint[], days date[]) RETURNS void LANGUAGE sql AS $$
    WITH summed AS (
        SELECT t.register_id, t.day, sum(i.quantity) AS quantity, count(i.*) AS interval_count,
               count(*) FILTER (WHERE i.quality = 'estimated') AS estimated_count,
               count(*) FILTER (WHERE i.quality = 'missing') AS missing_count
          FROM unnest(register_ids, days) AS t(register_id, day)
          JOIN app.register r ON r.id = t.register_id
          JOIN app.meter m ON m.id = r.meter_id
          JOIN app.site s ON s.id = m.site_id
          LEFT JOIN app.interval i ON i.register_id = t.register_id
               AND i.starts_at >= t.day::timestamp AT TIME ZONE s.time_zone
               AND i.starts_at < (t.day + 1)::timestamp AT TIME ZONE s.time_zone
         GROUP BY t.register_id, t.day
    ), gone AS (
        DELETE FROM app.interval_day d USING summed s
         WHERE s.interval_count = 0 AND d.register_id = s.register_id AND d.day = s.day
    )
    INSERT INTO app.interval_day AS d (register_id, day, quantity, interval_count, estimated_count, missing_count)
    SELECT register_id, day, quantity, interval_count, estimated_count, missing_count FROM summed WHERE interval_count > 0
    ON CONFLICT (register_id, day) DO UPDATE
       SET quantity = EXCLUDED.quantity, interval_count = EXCLUDED.interval_count,
           estimated_count = EXCLUDED.estimated_count, missing_count = EXCLUDED.missing_count
     WHERE (d.quantity, d.interval_count, d.estimated_count, d.missing_count) IS DISTINCT FROM
           (EXCLUDED.quantity, EXCLUDED.interval_count, EXCLUDED.estimated_count, EXCLUDED.missing_count);
$$;

CREATE FUNCTION app.interval_written() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    register_ids bigint[];
    days date[];
BEGIN
    SELECT array_agg(w.register_id), array_agg(w.day) INTO register_ids, days
      FROM (SELECT DISTINCT register_id, (starts_at AT TIME ZONE 'UTC')::date AS day FROM written) w;
    IF register_ids IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM app.pack_days(register_ids, days);
    SELECT array_agg(w.register_id), array_agg(w.day) INTO register_ids, days
      FROM (SELECT DISTINCT w.register_id, (w.starts_at AT TIME ZONE s.time_zone)::date AS day
              FROM written w
              JOIN app.register r ON r.id = w.register_id
              JOIN app.meter m ON m.id = r.meter_id
              JOIN app.site s ON s.id = m.site_id) w;
    PERFORM app.sum_days(register_ids, days);
    RETURN NULL;
END $$;
CREATE TRIGGER interval_inserted AFTER INSERT ON app.interval
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION app.interval_written();
CREATE TRIGGER interval_updated AFTER UPDATE ON app.interval
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION app.interval_written();
CREATE TRIGGER interval_deleted AFTER DELETE ON app.interval
    REFERENCING OLD TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION app.interval_written();

SELECT app.pack_days(array_agg(register_id), array_agg(day))
  FROM (SELECT DISTINCT register_id, (starts_at AT TIME ZONE 'UTC')::date AS day FROM app.interval) known
HAVING count(*) > 0;
