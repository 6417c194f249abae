-- Notifications: channels, routes and rotas; an outbox with a unique key; an append-only delivery log.

CREATE TABLE app.notification_channel (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    name text NOT NULL,
    -- An Apprise address (dingtalk://…, mailto://…), webhook+http(s)://… for our own JSON, or null:// . It holds secrets.
    address text NOT NULL,
    language text NOT NULL DEFAULT 'zh' CHECK (language IN ('zh', 'en')),
    per_minute smallint NOT NULL DEFAULT 20 CHECK (per_minute BETWEEN 1 AND 600),
    sends_recovery boolean NOT NULL DEFAULT true,
    is_enabled boolean NOT NULL DEFAULT true,
    tokens double precision NOT NULL DEFAULT 0,
    tokens_at timestamptz,
    last_sent_at timestamptz,
    last_error text NOT NULL DEFAULT '',
    UNIQUE (organisation_id, name)
);
SELECT app.protect_by_organisation('app.notification_channel');

-- Who is on call: a rota names a channel for a period; hand-over is where one period ends and the next begins.
CREATE TABLE app.notification_rota (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    name text NOT NULL,
    UNIQUE (organisation_id, name)
);
SELECT app.protect_by_organisation('app.notification_rota');
CREATE TABLE app.notification_shift (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    rota_id bigint NOT NULL REFERENCES app.notification_rota ON DELETE CASCADE,
    channel_id bigint NOT NULL REFERENCES app.notification_channel ON DELETE CASCADE,
    period tstzrange NOT NULL CHECK (NOT isempty(period)),
    CONSTRAINT one_person_on_call EXCLUDE USING gist (int8range(rota_id, rota_id, '[]') WITH &&, period WITH &&)
);
SELECT app.protect_by_organisation('app.notification_shift');

CREATE TABLE app.notification_route (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint REFERENCES app.site,
    -- A prefix of rules ('AHU-', 'device_', '' for all) and the least severity (4 = everything, 1 = critical only).
    rule_prefix text NOT NULL DEFAULT '',
    severity_max smallint NOT NULL DEFAULT 3 CHECK (severity_max BETWEEN 1 AND 4),
    channel_id bigint REFERENCES app.notification_channel ON DELETE CASCADE,
    rota_id bigint REFERENCES app.notification_rota ON DELETE CASCADE,
    -- Escalation: this route speaks only when nobody has acknowledged for so long.
    after_minutes integer NOT NULL DEFAULT 0 CHECK (after_minutes BETWEEN 0 AND 10080),
    -- Local hours in which only critical alarms are sent; the others wait for the end (digest).
    quiet_from smallint CHECK (quiet_from BETWEEN 0 AND 23),
    quiet_to smallint CHECK (quiet_to BETWEEN 0 AND 23),
    repeat_minutes integer NOT NULL DEFAULT 240 CHECK (repeat_minutes BETWEEN 5 AND 10080),
    -- Where critical alarms go when the channel is at its limit or fails.
    fallback_channel_id bigint REFERENCES app.notification_channel ON DELETE SET NULL,
    CHECK (num_nonnulls(channel_id, rota_id) = 1)
);
SELECT app.protect_by_organisation('app.notification_route');

-- What is to be said, once: the key makes a second copy impossible.
CREATE TABLE app.notification (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    topic text NOT NULL,
    transition text NOT NULL,
    channel_id bigint NOT NULL REFERENCES app.notification_channel ON DELETE CASCADE,
    fallback_channel_id bigint REFERENCES app.notification_channel ON DELETE SET NULL,
    group_key text NOT NULL,
    severity smallint NOT NULL,
    text_zh text NOT NULL,
    text_en text NOT NULL,
    created_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    repeat_minutes integer,
    state text NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'sending', 'sent', 'cancelled', 'failed')),
    message_key text,
    attempts smallint NOT NULL DEFAULT 0,
    sent_at timestamptz,
    UNIQUE (topic, transition, channel_id)
);
SELECT app.protect_by_organisation('app.notification');
CREATE INDEX notification_due ON app.notification (due_at) WHERE state IN ('waiting', 'sending');
CREATE INDEX notification_topic ON app.notification (topic);

CREATE TABLE app.notification_delivery (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    channel_id bigint NOT NULL REFERENCES app.notification_channel ON DELETE CASCADE,
    message_key text NOT NULL,
    started_at timestamptz NOT NULL,
    notification_count integer NOT NULL,
    title text NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('started', 'sent', 'failed')),
    detail text NOT NULL DEFAULT ''
);
SELECT app.protect_by_organisation('app.notification_delivery');
REVOKE UPDATE, DELETE ON app.notification_delivery FROM wattlease_app;

-- Journal lines that routing has not seen yet.
CREATE TABLE app.alarm_dispatch (
    journal_id bigint PRIMARY KEY REFERENCES app.alarm_journal,
    organisation_id bigint NOT NULL REFERENCES app.organisation
);
SELECT app.protect_by_organisation('app.alarm_dispatch');
