-- Every kind of point of the device profiles' dictionary: alarms, parameters and texts exist too.
-- depends: 0001.core
ALTER TABLE app.point DROP CONSTRAINT point_kind_check;
ALTER TABLE app.point ADD CONSTRAINT point_kind_check
    CHECK (kind IN ('sensor', 'setpoint', 'command', 'status', 'alarm', 'parameter', 'attribute'));
