-- What a fault wastes is energy or water: the estimate and what was measured are in one unit, which the order names.
-- depends: 0321.workorders-savings

ALTER TABLE app.work_order RENAME COLUMN kwh_per_day_before TO estimated_per_day;
ALTER TABLE app.work_order RENAME COLUMN measured_before_kwh TO measured_before;
ALTER TABLE app.work_order RENAME COLUMN measured_after_kwh TO measured_after;
ALTER TABLE app.work_order ADD COLUMN unit text NOT NULL DEFAULT 'kWh' CHECK (unit IN ('kWh', 'm³'));
