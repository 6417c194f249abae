-- What an estate file and the leasing records add: wanted points, entitlements, head counts, and what was known when.
-- depends: 0001.core

ALTER TABLE app.site ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}';
ALTER TABLE app.building ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}';

-- Points that registers and equipment wait for, by address ("meter-t301/active_energy_import"). A gateway tells its
-- points after the estate was imported, or before: the triggers below bind whichever comes second.
CREATE TABLE app.expected_point (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    device_name text NOT NULL,
    point_name text NOT NULL,
    register_id bigint REFERENCES app.register ON DELETE CASCADE,
    equipment_id bigint REFERENCES app.equipment ON DELETE CASCADE,
    role text,
    CHECK ((register_id IS NULL) <> (equipment_id IS NULL)),
    CHECK ((equipment_id IS NULL) = (role IS NULL)),
    UNIQUE (register_id),
    UNIQUE (equipment_id, role)
);
CREATE INDEX expected_point_address ON app.expected_point (device_name, point_name);
SELECT app.protect_by_organisation('app.expected_point');

CREATE FUNCTION app.bind_expected_point(expected app.expected_point, bound bigint) RETURNS void
LANGUAGE plpgsql SET search_path = app, pg_catalog AS $$
BEGIN
    IF expected.register_id IS NOT NULL THEN
        UPDATE register SET point_id = bound WHERE id = expected.register_id AND point_id IS DISTINCT FROM bound;
    ELSE
        INSERT INTO equipment_point (equipment_id, role, point_id)
        VALUES (expected.equipment_id, expected.role, bound)
            ON CONFLICT (equipment_id, role) DO UPDATE SET point_id = EXCLUDED.point_id;
        -- What equipment measures, it measures in the spaces it serves.
        INSERT INTO space_point (space_id, role, point_id)
        SELECT s.space_id, expected.role, bound
          FROM equipment_serves s
          JOIN equipment e ON e.id = s.equipment_id
         WHERE s.equipment_id = expected.equipment_id AND e.brick_class LIKE '%Sensor%'
            ON CONFLICT DO NOTHING;
    END IF;
END $$;

CREATE FUNCTION app.point_arrived() RETURNS trigger LANGUAGE plpgsql SET search_path = app, pg_catalog AS $$
DECLARE
    expected app.expected_point;
BEGIN
    FOR expected IN
        SELECT x.* FROM expected_point x
          JOIN device d ON d.id = NEW.device_id AND d.name = x.device_name
          JOIN gateway g ON g.id = d.gateway_id AND g.site_id = x.site_id
         WHERE x.point_name = NEW.name
    LOOP
        PERFORM bind_expected_point(expected, NEW.id);
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER bind_expected AFTER INSERT ON app.point FOR EACH ROW EXECUTE FUNCTION app.point_arrived();

CREATE FUNCTION app.point_expected() RETURNS trigger LANGUAGE plpgsql SET search_path = app, pg_catalog AS $$
DECLARE
    bound bigint;
BEGIN
    SELECT p.id INTO bound FROM point p
      JOIN device d ON d.id = p.device_id AND d.name = NEW.device_name
      JOIN gateway g ON g.id = d.gateway_id AND g.site_id = NEW.site_id
     WHERE p.name = NEW.point_name
     LIMIT 1;
    IF bound IS NOT NULL THEN
        PERFORM bind_expected_point(NEW, bound);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER bind_existing AFTER INSERT OR UPDATE ON app.expected_point
    FOR EACH ROW EXECUTE FUNCTION app.point_expected();

-- What was known when -----------------------------------------------------------------------------------------------

ALTER TABLE app.lease ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE app.lease_space ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE app.meter_space ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT now();

-- The rows that were in force until somebody recorded something else: valid time is in the row, recorded time here.
CREATE TABLE app.fact_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fact text NOT NULL CHECK (fact IN ('lease', 'lease_space', 'meter_space')),
    known tstzrange NOT NULL,
    content jsonb NOT NULL
);
CREATE INDEX fact_history_fact ON app.fact_history (fact, upper(known));
REVOKE UPDATE, DELETE ON app.fact_history FROM wattlease_app;

CREATE FUNCTION app.keep_fact() RETURNS trigger LANGUAGE plpgsql SET search_path = app, pg_catalog AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (to_jsonb(NEW) - 'recorded_at') = (to_jsonb(OLD) - 'recorded_at') THEN
        RETURN NEW;
    END IF;
    INSERT INTO fact_history (fact, known, content)
    VALUES (TG_TABLE_NAME, tstzrange(OLD.recorded_at, greatest(now(), OLD.recorded_at)), to_jsonb(OLD));
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.recorded_at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.lease FOR EACH ROW EXECUTE FUNCTION app.keep_fact();
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.lease_space FOR EACH ROW EXECUTE FUNCTION app.keep_fact();
CREATE TRIGGER keep_fact BEFORE UPDATE OR DELETE ON app.meter_space FOR EACH ROW EXECUTE FUNCTION app.keep_fact();

CREATE FUNCTION app.lease_space_as_known(instant timestamptz) RETURNS SETOF app.lease_space
LANGUAGE sql STABLE SET search_path = app, pg_catalog AS $$
    SELECT * FROM lease_space WHERE recorded_at <= instant
    UNION ALL
    SELECT r.* FROM fact_history h, jsonb_populate_record(NULL::lease_space, h.content) r
     WHERE h.fact = 'lease_space' AND h.known @> instant
$$;
CREATE FUNCTION app.meter_space_as_known(instant timestamptz) RETURNS SETOF app.meter_space
LANGUAGE sql STABLE SET search_path = app, pg_catalog AS $$
    SELECT * FROM meter_space WHERE recorded_at <= instant
    UNION ALL
    SELECT r.* FROM fact_history h, jsonb_populate_record(NULL::meter_space, h.content) r
     WHERE h.fact = 'meter_space' AND h.known @> instant
$$;

-- Entitlements ------------------------------------------------------------------------------------------------------

CREATE TABLE app.head_count (
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    lease_id bigint NOT NULL REFERENCES app.lease,
    valid daterange NOT NULL CHECK (NOT isempty(valid)),
    people integer NOT NULL CHECK (people >= 0),
    EXCLUDE USING gist (int8range(lease_id, lease_id, '[]') WITH &&, valid WITH &&)
);
SELECT app.protect_by_tenant('app.head_count');

-- Hours in which air conditioning is part of the lease, per weekday (1 Monday to 7 Sunday), by the site's clock.
CREATE TABLE app.hvac_hours (
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    lease_id bigint NOT NULL REFERENCES app.lease,
    weekday smallint NOT NULL CHECK (weekday BETWEEN 1 AND 7),
    starts time NOT NULL,
    ends time NOT NULL CHECK (ends > starts),
    valid daterange NOT NULL CHECK (NOT isempty(valid)),
    PRIMARY KEY (lease_id, weekday, starts, valid)
);
SELECT app.protect_by_tenant('app.hvac_hours');

-- The steps of a lease's life, who took them and why; append-only.
CREATE TABLE app.lease_step (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    lease_id bigint NOT NULL REFERENCES app.lease,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    step text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
SELECT app.protect_by_tenant('app.lease_step');
REVOKE UPDATE, DELETE ON app.lease_step FROM wattlease_app;
