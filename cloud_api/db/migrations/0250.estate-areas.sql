-- Areas of spaces by period, and what was known of them when: a space is there while it has an area.
-- depends: 0234.notify-letters

CREATE TABLE app.space_area (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    space_id bigint NOT NULL REFERENCES app.space,
    valid daterange NOT NULL DEFAULT daterange(NULL, NULL) CHECK (NOT isempty(valid)),
    area_m2 numeric NOT NULL CHECK (area_m2 > 0),
    area_kind text NOT NULL DEFAULT 'net' CHECK (area_kind IN ('net', 'gross')),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_area_per_space_and_day
        EXCLUDE USING gist (int8range(space_id, space_id, '[]') WITH &&, valid WITH &&)
);
SELECT app.protect_by_organisation('app.space_area');

-- What stood in the space had no date: it holds for ever, and was known always.
INSERT INTO app.space_area (organisation_id, space_id, area_m2, area_kind, recorded_at)
SELECT organisation_id, id, area_m2, area_kind, '-infinity' FROM app.space WHERE area_m2 IS NOT NULL;
ALTER TABLE app.space DROP COLUMN area_m2, DROP COLUMN area_kind;

ALTER TABLE app.fact_history DROP CONSTRAINT fact_history_fact_check;
ALTER TABLE app.fact_history ADD CONSTRAINT fact_history_fact_check
    CHECK (fact IN ('lease', 'lease_space', 'meter_space', 'head_count', 'hvac_hours', 'space_area', 'access_entitlement'));
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.space_area FOR EACH ROW EXECUTE FUNCTION app.keep_fact();

CREATE FUNCTION app.space_area_as_known(instant timestamptz) RETURNS SETOF app.space_area
LANGUAGE sql STABLE SET search_path = app, pg_catalog AS $$
    SELECT * FROM space_area WHERE recorded_at <= instant
    UNION ALL
    SELECT r.* FROM fact_history h, jsonb_populate_record(NULL::space_area, h.content) r
     WHERE h.fact = 'space_area' AND h.known @> instant
$$;

-- The area of a space on a day; NULL on days on which it does not exist.
CREATE FUNCTION app.area_on(wanted bigint, day date) RETURNS numeric
LANGUAGE sql STABLE SET search_path = app, pg_catalog AS $$
    SELECT area_m2 FROM space_area WHERE space_id = wanted AND valid @> day
$$;
