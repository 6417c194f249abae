-- Runs and documents are made in the background: how far they are, why one failed, and the finished documents.
-- depends: 0211.billing-walls

ALTER TABLE app.bill_run ADD COLUMN phase text NOT NULL DEFAULT 'waiting'
    CHECK (phase IN ('waiting', 'reading', 'rating', 'storing', 'done', 'failed'));
ALTER TABLE app.bill_run ADD COLUMN failure text NOT NULL DEFAULT '';
UPDATE app.bill_run SET phase = 'done' WHERE state <> 'draft';

-- The PDF of an issued bill: the same bytes as when it is made again, kept so that nobody waits for them.
CREATE TABLE app.bill_document (
    bill_id bigint PRIMARY KEY REFERENCES app.bill,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    tenant_id bigint NOT NULL REFERENCES app.tenant,
    content bytea NOT NULL,
    sha256 text NOT NULL,
    made_at timestamptz NOT NULL
);
SELECT app.protect_by_tenant('app.bill_document');
