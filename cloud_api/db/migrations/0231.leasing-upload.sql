-- Leasing files between their preview and their import; a person has one at a time.
-- depends: 0230.leasing-known

CREATE TABLE app.lease_upload (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    source text NOT NULL,
    name text[] NOT NULL,
    content bytea[] NOT NULL
);
SELECT app.protect_by_organisation('app.lease_upload');
