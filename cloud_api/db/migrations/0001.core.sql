-- The core: schemas, scope functions, and the tables that several packages join.
-- Estate, identity, leasing, devices. Instants are timestamptz in UTC; periods are half-open ranges.

CREATE SCHEMA app AUTHORIZATION wattlease_owner;
CREATE SCHEMA reporting AUTHORIZATION wattlease_owner;
GRANT USAGE ON SCHEMA app TO wattlease_app;
GRANT USAGE ON SCHEMA reporting TO wattlease_app, wattlease_grafana;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO wattlease_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT USAGE ON SEQUENCES TO wattlease_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA reporting GRANT SELECT ON TABLES TO wattlease_app, wattlease_grafana;

-- Whose rows the transaction may see; unset means nobody's (cloud_api/db/pool.py sets them).
CREATE FUNCTION app.viewer_kind() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.viewer_kind', true), '');
CREATE FUNCTION app.viewer_organisation() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.organisation_id', true), '')::bigint;
CREATE FUNCTION app.viewer_tenant() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('app.tenant_id', true), '')::bigint;

-- Row-level security for a table with organisation_id: system sees all, staff and tenants their organisation.
CREATE FUNCTION app.protect_by_organisation(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY by_organisation ON %s USING ((SELECT app.viewer_kind()) = ''system''
        OR ((SELECT app.viewer_kind()) IN (''staff'', ''tenant'') AND organisation_id = (SELECT app.viewer_organisation())))', target);
END $$;

-- Row-level security for a table with organisation_id and tenant_id: a tenant sees only its own rows.
CREATE FUNCTION app.protect_by_tenant(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY by_tenant ON %s USING ((SELECT app.viewer_kind()) = ''system''
        OR ((SELECT app.viewer_kind()) = ''staff'' AND organisation_id = (SELECT app.viewer_organisation()))
        OR ((SELECT app.viewer_kind()) = ''tenant'' AND organisation_id = (SELECT app.viewer_organisation())
            AND tenant_id = (SELECT app.viewer_tenant())))', target);
END $$;

-- Estate ---------------------------------------------------------------------------------------------------------

CREATE TABLE app.organisation (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE app.site (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    code text NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    time_zone text NOT NULL DEFAULT 'Asia/Shanghai',
    currency char(3) NOT NULL DEFAULT 'CNY',
    region text NOT NULL DEFAULT 'CN-ZJ',
    contract_demand_kw numeric,
    UNIQUE (organisation_id, code)
);
SELECT app.protect_by_organisation('app.site');

CREATE TABLE app.building (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    code text NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    UNIQUE (site_id, code)
);
SELECT app.protect_by_organisation('app.building');

CREATE TABLE app.floor (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    building_id bigint NOT NULL REFERENCES app.building,
    code text NOT NULL,
    level_number integer NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    area_m2 numeric CHECK (area_m2 > 0),
    UNIQUE (building_id, code)
);
SELECT app.protect_by_organisation('app.floor');

CREATE TABLE app.space (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    floor_id bigint NOT NULL REFERENCES app.floor,
    parent_space_id bigint REFERENCES app.space,
    code text NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    use text NOT NULL DEFAULT 'lettable' CHECK (use IN ('lettable', 'common', 'plant', 'shared')),
    area_m2 numeric CHECK (area_m2 > 0),
    area_kind text NOT NULL DEFAULT 'net' CHECK (area_kind IN ('net', 'gross')),
    UNIQUE (floor_id, code)
);
SELECT app.protect_by_organisation('app.space');

CREATE TABLE app.equipment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    space_id bigint REFERENCES app.space,
    parent_equipment_id bigint REFERENCES app.equipment,
    code text NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    brick_class text NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',
    UNIQUE (site_id, code)
);
SELECT app.protect_by_organisation('app.equipment');

-- Which spaces an equipment serves (an air handler serves floors; a bill and an alarm ask whom it affects).
CREATE TABLE app.equipment_serves (
    equipment_id bigint NOT NULL REFERENCES app.equipment ON DELETE CASCADE,
    space_id bigint NOT NULL REFERENCES app.space ON DELETE CASCADE,
    PRIMARY KEY (equipment_id, space_id)
);

-- Identity -------------------------------------------------------------------------------------------------------

CREATE TABLE app.tenant (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    code text NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    credit_code text,
    is_owner boolean NOT NULL DEFAULT false,
    attributes jsonb NOT NULL DEFAULT '{}',
    UNIQUE (organisation_id, code)
);
ALTER TABLE app.tenant ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON app.tenant USING ((SELECT app.viewer_kind()) = 'system'
    OR ((SELECT app.viewer_kind()) = 'staff' AND organisation_id = (SELECT app.viewer_organisation()))
    OR ((SELECT app.viewer_kind()) = 'tenant' AND id = (SELECT app.viewer_tenant())));

CREATE TABLE app.app_user (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint REFERENCES app.tenant,
    login text NOT NULL UNIQUE,
    display_name text NOT NULL,
    email text,
    password_hash text,
    roles text[] NOT NULL DEFAULT '{}',
    language text NOT NULL DEFAULT 'zh' CHECK (language IN ('zh', 'en')),
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
SELECT app.protect_by_organisation('app.app_user');

-- Append-only: whatever can change a bill, a device or a right.
CREATE TABLE app.audit_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    reason text,
    detail jsonb NOT NULL DEFAULT '{}'
);
REVOKE UPDATE, DELETE ON app.audit_entry FROM wattlease_app;

-- Leasing --------------------------------------------------------------------------------------------------------

CREATE TABLE app.lease (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    number text NOT NULL,
    status text NOT NULL CHECK (status IN ('application', 'review', 'approved', 'active', 'ended', 'rejected')),
    term daterange NOT NULL CHECK (NOT isempty(term)),
    attributes jsonb NOT NULL DEFAULT '{}',
    source_system text NOT NULL DEFAULT 'manual',
    external_id text,
    version integer NOT NULL DEFAULT 1,
    UNIQUE (organisation_id, number),
    UNIQUE (organisation_id, source_system, external_id)
);
SELECT app.protect_by_tenant('app.lease');

-- Which space belongs to which lease, by local dates of the site. No two leases hold a space on one day.
CREATE TABLE app.lease_space (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    lease_id bigint NOT NULL REFERENCES app.lease,
    space_id bigint NOT NULL REFERENCES app.space,
    term daterange NOT NULL CHECK (NOT isempty(term)),
    area_m2 numeric CHECK (area_m2 > 0),
    CONSTRAINT one_lease_per_space_and_day
        EXCLUDE USING gist (int8range(space_id, space_id, '[]') WITH &&, term WITH &&)
);
SELECT app.protect_by_tenant('app.lease_space');
CREATE INDEX lease_space_lease ON app.lease_space (lease_id);

-- Devices --------------------------------------------------------------------------------------------------------

CREATE TABLE app.gateway (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    name text NOT NULL UNIQUE,
    label text NOT NULL DEFAULT '',
    catalogue_revision text,
    catalogue_received_at timestamptz,
    last_seen_at timestamptz,
    clock_offset_ms integer,
    health jsonb NOT NULL DEFAULT '{}',
    is_enabled boolean NOT NULL DEFAULT true
);
SELECT app.protect_by_organisation('app.gateway');

-- `wl_gw_<key_id>_<secret>`; only a hash of the secret is kept.
CREATE TABLE app.gateway_credential (
    key_id text PRIMARY KEY,
    gateway_id bigint NOT NULL REFERENCES app.gateway ON DELETE CASCADE,
    secret_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE app.device (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    gateway_id bigint NOT NULL REFERENCES app.gateway,
    name text NOT NULL,
    label text NOT NULL DEFAULT '',
    profile text NOT NULL DEFAULT '',
    profile_revision text NOT NULL DEFAULT '',
    bus text NOT NULL DEFAULT '',
    address text NOT NULL DEFAULT '',
    poll_s double precision,
    timeout_s double precision,
    attributes jsonb NOT NULL DEFAULT '{}',
    state text NOT NULL DEFAULT 'unknown' CHECK (state IN ('unknown', 'online', 'offline')),
    state_since timestamptz,
    last_error text NOT NULL DEFAULT '',
    retired_at timestamptz,
    UNIQUE (gateway_id, name)
);
SELECT app.protect_by_organisation('app.device');

CREATE TABLE app.point (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    device_id bigint NOT NULL REFERENCES app.device,
    name text NOT NULL,
    kind text NOT NULL DEFAULT 'sensor' CHECK (kind IN ('sensor', 'setpoint', 'command', 'status')),
    quantity text NOT NULL DEFAULT '',
    unit text NOT NULL DEFAULT '',
    brick_class text NOT NULL DEFAULT '',
    scale smallint,
    is_cumulative boolean NOT NULL DEFAULT false,
    labels jsonb NOT NULL DEFAULT '{}',
    retired_at timestamptz,
    UNIQUE (device_id, name)
);
SELECT app.protect_by_organisation('app.point');

-- The role a point plays for an equipment ("supply_air_temperature" of ahu-3): fault rules bind by it.
CREATE TABLE app.equipment_point (
    equipment_id bigint NOT NULL REFERENCES app.equipment ON DELETE CASCADE,
    role text NOT NULL,
    point_id bigint NOT NULL REFERENCES app.point,
    PRIMARY KEY (equipment_id, role)
);

-- A point that a space is judged by: temperature, CO2, people.
CREATE TABLE app.space_point (
    space_id bigint NOT NULL REFERENCES app.space ON DELETE CASCADE,
    role text NOT NULL,
    point_id bigint NOT NULL REFERENCES app.point,
    PRIMARY KEY (space_id, role, point_id)
);

-- Telemetry ------------------------------------------------------------------------------------------------------

CREATE TABLE app.latest_value (
    point_id bigint PRIMARY KEY REFERENCES app.point,
    observed_at timestamptz NOT NULL,
    value double precision,
    quality smallint NOT NULL,
    received_at timestamptz NOT NULL
) WITH (fillfactor = 70);

-- Metering -------------------------------------------------------------------------------------------------------

CREATE TABLE app.meter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    parent_meter_id bigint REFERENCES app.meter,
    code text NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    utility text NOT NULL DEFAULT 'electricity'
        CHECK (utility IN ('electricity', 'water', 'gas', 'heat', 'cooling')),
    use text NOT NULL CHECK (use IN ('main', 'floor', 'tenant', 'common', 'plant', 'check')),
    interval_minutes smallint NOT NULL DEFAULT 15 CHECK (interval_minutes IN (1, 5, 15, 30, 60)),
    attributes jsonb NOT NULL DEFAULT '{}',
    UNIQUE (site_id, code)
);
SELECT app.protect_by_organisation('app.meter');

-- One counter of a meter, from the instant it is opened until a meter exchange closes it.
CREATE TABLE app.register (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    meter_id bigint NOT NULL REFERENCES app.meter,
    quantity text NOT NULL,
    unit text NOT NULL,
    point_id bigint REFERENCES app.point,
    multiplier numeric NOT NULL DEFAULT 1,
    modulus numeric,
    open_period tstzrange NOT NULL DEFAULT tstzrange(NULL, NULL),
    CONSTRAINT one_open_register_per_quantity EXCLUDE USING gist (
        int8range(meter_id, meter_id, '[]') WITH &&,
        int8range(hashtext(quantity), hashtext(quantity), '[]') WITH &&,
        open_period WITH &&)
);
SELECT app.protect_by_organisation('app.register');
CREATE INDEX register_point ON app.register (point_id);

-- Which meter measures which space, and what share of it, by instant.
CREATE TABLE app.meter_space (
    meter_id bigint NOT NULL REFERENCES app.meter,
    space_id bigint NOT NULL REFERENCES app.space,
    share numeric NOT NULL DEFAULT 1 CHECK (share > 0 AND share <= 1),
    valid tstzrange NOT NULL DEFAULT tstzrange(NULL, NULL) CHECK (NOT isempty(valid)),
    EXCLUDE USING gist (int8range(meter_id, meter_id, '[]') WITH &&, int8range(space_id, space_id, '[]') WITH &&, valid WITH &&)
);

-- A register's cumulative value at an instant, exact, as the meter displayed it. Never overwritten.
CREATE TABLE app.reading (
    register_id bigint NOT NULL REFERENCES app.register,
    taken_at timestamptz NOT NULL,
    value numeric NOT NULL,
    source text NOT NULL DEFAULT 'telemetry' CHECK (source IN ('telemetry', 'manual', 'import', 'handover', 'exchange')),
    quality text NOT NULL DEFAULT 'actual' CHECK (quality IN ('actual', 'estimated', 'corrected')),
    received_at timestamptz NOT NULL,
    PRIMARY KEY (register_id, taken_at, source)
);

-- The interval ledger: one current row per register and start.
CREATE TABLE app.interval (
    register_id bigint NOT NULL REFERENCES app.register,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL CHECK (ends_at > starts_at),
    quantity numeric NOT NULL,
    quality text NOT NULL CHECK (quality IN ('actual', 'estimated', 'edited', 'missing')),
    method text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    revision integer NOT NULL DEFAULT 1,
    computed_at timestamptz NOT NULL,
    PRIMARY KEY (register_id, starts_at)
);
