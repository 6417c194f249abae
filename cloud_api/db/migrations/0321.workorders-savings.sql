-- What a repair saved, measured on the data before and after it; the estimate of the alarm stays beside it.

ALTER TABLE app.work_order
    ADD COLUMN measured_before_kwh numeric,
    ADD COLUMN measured_after_kwh numeric,
    ADD COLUMN saved_money_per_day numeric,
    ADD COLUMN measured_at timestamptz,
    ADD COLUMN measured_how text CHECK (measured_how IN ('baseline', 'condition', 'too_little_data'));

ALTER TABLE app.maintenance_window ADD COLUMN cancelled_at timestamptz, ADD COLUMN cancelled_by text;
