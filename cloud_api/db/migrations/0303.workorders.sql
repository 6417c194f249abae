-- Work orders: from an alarm or a tenant's request to a repair that the system itself confirms.

CREATE TABLE app.work_order (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    tenant_id bigint REFERENCES app.tenant,
    space_id bigint REFERENCES app.space,
    equipment_id bigint REFERENCES app.equipment,
    alarm_id bigint REFERENCES app.alarm,
    kind text NOT NULL DEFAULT 'corrective' CHECK (kind IN ('corrective', 'preventive', 'request')),
    state text NOT NULL DEFAULT 'requested'
        CHECK (state IN ('requested', 'open', 'assigned', 'in_progress', 'done', 'confirmed', 'rejected')),
    priority smallint NOT NULL DEFAULT 3 CHECK (priority BETWEEN 1 AND 4),
    title_zh text NOT NULL,
    title_en text NOT NULL,
    description text NOT NULL DEFAULT '',
    assignee text,
    due_at timestamptz,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    done_at timestamptz,
    -- Completion is confirmed when the fault has stayed away until here; else the order is reopened.
    confirm_at timestamptz,
    closed_at timestamptz,
    reopened_count integer NOT NULL DEFAULT 0,
    kwh_per_day_before numeric,
    CHECK (state NOT IN ('assigned', 'in_progress') OR assignee IS NOT NULL)
);
-- A tenant sees the requests it made, staff everything of their organisation.
SELECT app.protect_by_tenant('app.work_order');
CREATE INDEX work_order_open ON app.work_order (site_id, due_at) WHERE state NOT IN ('confirmed', 'rejected');
-- One open order per alarm.
CREATE UNIQUE INDEX work_order_alarm ON app.work_order (alarm_id) WHERE state NOT IN ('confirmed', 'rejected');

CREATE TABLE app.work_order_step (
    work_order_id bigint NOT NULL REFERENCES app.work_order ON DELETE CASCADE,
    number smallint NOT NULL,
    text_zh text NOT NULL,
    text_en text NOT NULL,
    done_by text,
    done_at timestamptz,
    PRIMARY KEY (work_order_id, number)
);

CREATE TABLE app.work_order_part (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    work_order_id bigint NOT NULL REFERENCES app.work_order ON DELETE CASCADE,
    name text NOT NULL,
    quantity numeric NOT NULL CHECK (quantity > 0),
    cost numeric CHECK (cost >= 0)
);

-- What people said and attached, and every change of state: append-only.
CREATE TABLE app.work_order_entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    work_order_id bigint NOT NULL REFERENCES app.work_order ON DELETE CASCADE,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('state', 'comment', 'photo')),
    text text NOT NULL DEFAULT '',
    photo bytea CHECK (length(photo) <= 5000000),
    photo_type text CHECK (photo_type IN ('image/jpeg', 'image/png', 'image/webp'))
);
CREATE INDEX work_order_entry_order ON app.work_order_entry (work_order_id, id);
REVOKE UPDATE, DELETE ON app.work_order_entry FROM wattlease_app;

-- While a window is open, alarms of its equipment are out of service; preventive plans make windows and orders.
CREATE TABLE app.maintenance_window (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    equipment_id bigint NOT NULL REFERENCES app.equipment,
    period tstzrange NOT NULL CHECK (NOT isempty(period) AND upper(period) IS NOT NULL),
    reason text NOT NULL CHECK (reason <> ''),
    created_by text NOT NULL
);
SELECT app.protect_by_organisation('app.maintenance_window');

CREATE TABLE app.preventive_plan (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    equipment_id bigint NOT NULL REFERENCES app.equipment,
    title_zh text NOT NULL,
    title_en text NOT NULL,
    every_days integer NOT NULL CHECK (every_days BETWEEN 1 AND 3650),
    next_on date NOT NULL,
    window_hours numeric NOT NULL DEFAULT 4 CHECK (window_hours BETWEEN 0 AND 240),
    is_enabled boolean NOT NULL DEFAULT true
);
SELECT app.protect_by_organisation('app.preventive_plan');
