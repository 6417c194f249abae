-- A file of readings between its preview and its import; removed after a day.
-- depends: 0102.metering-vee

CREATE TABLE app.reading_upload (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id bigint NOT NULL REFERENCES app.organisation,
    file_name text NOT NULL,
    default_meter text NOT NULL DEFAULT '',
    content bytea NOT NULL,
    actor text NOT NULL,
    uploaded_at timestamptz NOT NULL
);
SELECT app.protect_by_organisation('app.reading_upload');
