-- Letters: e-mails to one tenant, with an attachment that is made when they leave; each is sent at most once.
-- depends: 0233.leasing-services 0302.notify

CREATE TABLE app.mail_sender (
    organisation_id bigint PRIMARY KEY REFERENCES app.organisation,
    -- An Apprise address without recipient (mailto://user:pass@host?from=…). It holds secrets.
    address text NOT NULL,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL
);
SELECT app.protect_by_organisation('app.mail_sender');

CREATE TABLE app.letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    -- What it is about ('bill/42'): with the recipient it makes a second copy impossible.
    topic text NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    bill_id bigint REFERENCES app.bill,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sending', 'sent', 'failed')),
    attempts smallint NOT NULL DEFAULT 0,
    written_at timestamptz NOT NULL,
    tried_at timestamptz,
    sent_at timestamptz,
    problem text NOT NULL DEFAULT '',
    UNIQUE (organisation_id, topic, recipient)
);
ALTER TABLE app.letter ENABLE ROW LEVEL SECURITY;
CREATE POLICY not_for_tenants ON app.letter USING ((SELECT app.viewer_kind()) = 'system'
    OR ((SELECT app.viewer_kind()) = 'staff' AND organisation_id = (SELECT app.viewer_organisation())));

-- Prepaid accounts: who pays ahead, and below which balance a warning goes out.
CREATE TABLE app.prepaid_terms (
    tenant_id bigint PRIMARY KEY REFERENCES app.tenant,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    low_balance numeric NOT NULL CHECK (low_balance >= 0),
    warned_on date,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL
);
SELECT app.protect_by_tenant('app.prepaid_terms');
