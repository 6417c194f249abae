-- Names of sites, buildings, floors and spaces by period, and what each is part of: what is there while a period holds.
-- depends: 0280.billing-cycles

CREATE TABLE app.place_period (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    -- Whose period it is: exactly one of the four.
    site_id bigint REFERENCES app.site ON DELETE CASCADE,
    building_id bigint REFERENCES app.building ON DELETE CASCADE,
    floor_id bigint REFERENCES app.floor ON DELETE CASCADE,
    space_id bigint REFERENCES app.space ON DELETE CASCADE,
    valid daterange NOT NULL DEFAULT daterange(NULL, NULL) CHECK (NOT isempty(valid)),
    name_zh text NOT NULL,
    name_en text NOT NULL,
    in_building_id bigint REFERENCES app.building,
    in_floor_id bigint REFERENCES app.floor,
    in_space_id bigint REFERENCES app.space,
    area_m2 numeric CHECK (area_m2 > 0),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CHECK (num_nonnulls(site_id, building_id, floor_id, space_id) = 1),
    CHECK ((floor_id IS NOT NULL) = (in_building_id IS NOT NULL)),
    CHECK ((space_id IS NOT NULL) = (in_floor_id IS NOT NULL)),
    CHECK (in_space_id IS NULL OR space_id IS NOT NULL),
    CONSTRAINT areas_by_period_are_those_of_floors CHECK (area_m2 IS NULL OR floor_id IS NOT NULL),
    CONSTRAINT one_period_per_site_and_day
        EXCLUDE USING gist (int8range(site_id, site_id, '[]') WITH &&, valid WITH &&) WHERE (site_id IS NOT NULL),
    CONSTRAINT one_period_per_building_and_day
        EXCLUDE USING gist (int8range(building_id, building_id, '[]') WITH &&, valid WITH &&) WHERE (building_id IS NOT NULL),
    CONSTRAINT one_period_per_floor_and_day
        EXCLUDE USING gist (int8range(floor_id, floor_id, '[]') WITH &&, valid WITH &&) WHERE (floor_id IS NOT NULL),
    CONSTRAINT one_period_per_space_and_day
        EXCLUDE USING gist (int8range(space_id, space_id, '[]') WITH &&, valid WITH &&) WHERE (space_id IS NOT NULL)
);
SELECT app.protect_by_organisation('app.place_period');

-- What stood there had no date: it holds for ever, and was known always.
INSERT INTO app.place_period (organisation_id, site_id, name_zh, name_en, recorded_at)
SELECT organisation_id, id, name_zh, name_en, '-infinity' FROM app.site;
INSERT INTO app.place_period (organisation_id, building_id, name_zh, name_en, recorded_at)
SELECT organisation_id, id, name_zh, name_en, '-infinity' FROM app.building;
INSERT INTO app.place_period (organisation_id, floor_id, in_building_id, name_zh, name_en, area_m2, recorded_at)
SELECT organisation_id, id, building_id, name_zh, name_en, area_m2, '-infinity' FROM app.floor;
INSERT INTO app.place_period (organisation_id, space_id, in_floor_id, in_space_id, name_zh, name_en, recorded_at)
SELECT organisation_id, id, floor_id, parent_space_id, name_zh, name_en, '-infinity' FROM app.space;

-- A new place is there from the beginning until somebody says otherwise. The columns of site, building, floor and space
-- keep what holds today, for everything that asks for now; the periods are the truth.
CREATE FUNCTION app.begin_place() RETURNS trigger LANGUAGE plpgsql SET search_path = app, pg_catalog AS $$
BEGIN
    CASE TG_TABLE_NAME
    WHEN 'site' THEN
        INSERT INTO place_period (organisation_id, site_id, name_zh, name_en)
        VALUES (NEW.organisation_id, NEW.id, NEW.name_zh, NEW.name_en);
    WHEN 'building' THEN
        INSERT INTO place_period (organisation_id, building_id, name_zh, name_en)
        VALUES (NEW.organisation_id, NEW.id, NEW.name_zh, NEW.name_en);
    WHEN 'floor' THEN
        INSERT INTO place_period (organisation_id, floor_id, in_building_id, name_zh, name_en, area_m2)
        VALUES (NEW.organisation_id, NEW.id, NEW.building_id, NEW.name_zh, NEW.name_en, NEW.area_m2);
    WHEN 'space' THEN
        INSERT INTO place_period (organisation_id, space_id, in_floor_id, in_space_id, name_zh, name_en)
        VALUES (NEW.organisation_id, NEW.id, NEW.floor_id, NEW.parent_space_id, NEW.name_zh, NEW.name_en);
    END CASE;
    RETURN NULL;
END $$;
CREATE TRIGGER begin_place AFTER INSERT ON app.site FOR EACH ROW EXECUTE FUNCTION app.begin_place();
CREATE TRIGGER begin_place AFTER INSERT ON app.building FOR EACH ROW EXECUTE FUNCTION app.begin_place();
CREATE TRIGGER begin_place AFTER INSERT ON app.floor FOR EACH ROW EXECUTE FUNCTION app.begin_place();
CREATE TRIGGER begin_place AFTER INSERT ON app.space FOR EACH ROW EXECUTE FUNCTION app.begin_place();

-- A space is never inside itself, on no day. Changes of one organisation's nesting wait for each other: two of them
-- together could close a circle that neither sees.
CREATE FUNCTION app.refuse_nesting_circle() RETURNS trigger LANGUAGE plpgsql SET search_path = app, pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('place_period', NEW.organisation_id));
    IF EXISTS (
        WITH RECURSIVE above AS (
            SELECT NEW.in_space_id AS space_id, NEW.valid AS valid
            UNION
            SELECT p.in_space_id, p.valid * a.valid
              FROM above a
              JOIN place_period p ON p.space_id = a.space_id AND p.in_space_id IS NOT NULL AND p.valid && a.valid
             WHERE a.space_id <> NEW.space_id
        ) SELECT 1 FROM above WHERE space_id = NEW.space_id
    ) THEN
        RAISE EXCEPTION 'space % would be inside itself', NEW.space_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'no_space_inside_itself', TABLE = 'place_period';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refuse_nesting_circle AFTER INSERT OR UPDATE ON app.place_period
    FOR EACH ROW WHEN (NEW.in_space_id IS NOT NULL) EXECUTE FUNCTION app.refuse_nesting_circle();

CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.place_period FOR EACH ROW EXECUTE FUNCTION app.keep_fact();

CREATE FUNCTION app.place_period_as_known(instant timestamptz) RETURNS SETOF app.place_period
LANGUAGE sql STABLE SET search_path = app, pg_catalog AS $$
    SELECT * FROM place_period WHERE recorded_at <= instant
    UNION ALL
    SELECT r.* FROM fact_history h, jsonb_populate_record(NULL::place_period, h.content) r
     WHERE h.fact = 'place_period' AND h.known @> instant
$$;
