-- What tenants ask for and what the park tells them: air conditioning after hours, notices.
-- depends: 0232.billing-final

-- Air conditioning outside the hours of the lease: asked, decided, charged by the tariff for `hvac`.
CREATE TABLE app.hvac_request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    lease_id bigint NOT NULL REFERENCES app.lease,
    space_id bigint NOT NULL REFERENCES app.space,
    period tstzrange NOT NULL CHECK (NOT isempty(period) AND NOT upper_inf(period) AND NOT lower_inf(period)),
    state text NOT NULL CHECK (state IN ('requested', 'approved', 'rejected', 'cancelled')),
    asked_at timestamptz NOT NULL,
    asked_by text NOT NULL,
    decided_at timestamptz,
    decided_by text,
    reason text NOT NULL DEFAULT '',
    CONSTRAINT one_request_per_space_and_time EXCLUDE USING gist (
        int8range(space_id, space_id, '[]') WITH &&, period WITH &&) WHERE (state IN ('requested', 'approved'))
);
SELECT app.protect_by_tenant('app.hvac_request');
CREATE INDEX hvac_request_period ON app.hvac_request USING gist (period);

-- Notices of the park to its tenants, in both languages, while they are valid.
CREATE TABLE app.notice (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    kind text NOT NULL CHECK (kind IN ('story', 'activity', 'news', 'policy', 'service')),
    title_zh text NOT NULL CHECK (title_zh <> ''),
    title_en text NOT NULL CHECK (title_en <> ''),
    body_zh text NOT NULL DEFAULT '',
    body_en text NOT NULL DEFAULT '',
    shown daterange NOT NULL CHECK (NOT isempty(shown)),
    written_at timestamptz NOT NULL,
    written_by text NOT NULL,
    withdrawn_at timestamptz
);
SELECT app.protect_by_organisation('app.notice');
