-- Alarms: one condition per (site, subject, rule), occurrences below it, an append-only journal. Timers are columns.

CREATE TABLE app.alarm (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    site_id bigint NOT NULL REFERENCES app.site,
    -- 'gateway:3', 'bus:3/tcp-1', 'device:17', 'point:211', 'equipment:5', 'meter:4'
    subject text NOT NULL,
    rule text NOT NULL,
    severity smallint NOT NULL CHECK (severity BETWEEN 1 AND 4),
    params jsonb NOT NULL DEFAULT '{}',
    verdict text NOT NULL DEFAULT 'no_eval' CHECK (verdict IN ('fault', 'ok', 'no_eval')),
    fault_since timestamptz,
    ok_since timestamptz,
    active boolean NOT NULL DEFAULT false,
    acknowledged boolean NOT NULL DEFAULT true,
    latched boolean NOT NULL DEFAULT false,
    suppression text NOT NULL DEFAULT 'none' CHECK (suppression IN ('none', 'shelved', 'by_design', 'out_of_service')),
    suppressed_until timestamptz,
    suppression_reason text NOT NULL DEFAULT '',
    occurrence integer NOT NULL DEFAULT 0,
    opened_at timestamptz,
    cleared_at timestamptz,
    annunciate_at timestamptz,
    is_annunciated boolean NOT NULL DEFAULT false,
    acknowledged_at timestamptz,
    next_timer_at timestamptz,
    UNIQUE (site_id, subject, rule),
    -- A shelf always has an end and a reason.
    CHECK (suppression <> 'shelved' OR (suppressed_until IS NOT NULL AND suppression_reason <> ''))
);
SELECT app.protect_by_organisation('app.alarm');
CREATE INDEX alarm_open ON app.alarm (site_id, severity) WHERE active OR latched OR NOT acknowledged;
CREATE INDEX alarm_timer ON app.alarm (next_timer_at) WHERE next_timer_at IS NOT NULL;

CREATE TABLE app.alarm_occurrence (
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    alarm_id bigint NOT NULL REFERENCES app.alarm,
    occurrence integer NOT NULL,
    opened_at timestamptz NOT NULL,
    detected_at timestamptz NOT NULL,
    annunciated_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    cleared_at timestamptz,
    reopened_count integer NOT NULL DEFAULT 0,
    params jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (alarm_id, occurrence)
);
SELECT app.protect_by_organisation('app.alarm_occurrence');
CREATE INDEX alarm_occurrence_opened ON app.alarm_occurrence (opened_at);

-- Append-only: what happened, in event time and in recording time, and who did it.
CREATE TABLE app.alarm_journal (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    alarm_id bigint NOT NULL REFERENCES app.alarm,
    occurrence integer NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor text NOT NULL DEFAULT 'system',
    reason text NOT NULL DEFAULT '',
    detail jsonb NOT NULL DEFAULT '{}'
);
SELECT app.protect_by_organisation('app.alarm_journal');
CREATE INDEX alarm_journal_alarm ON app.alarm_journal (alarm_id, id);
CREATE INDEX alarm_journal_at ON app.alarm_journal (at);
REVOKE UPDATE, DELETE ON app.alarm_journal FROM wattlease_app;
