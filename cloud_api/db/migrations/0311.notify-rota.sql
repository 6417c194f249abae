-- Routes that hold at some hours and on some days; rotas that are planned ahead, with hand-over.

ALTER TABLE app.notification_route
    -- Local hours in which the route holds; over midnight when the end is before the beginning.
    ADD COLUMN hours_from smallint CHECK (hours_from BETWEEN 0 AND 23),
    ADD COLUMN hours_to smallint CHECK (hours_to BETWEEN 0 AND 23),
    ADD COLUMN days text NOT NULL DEFAULT 'all' CHECK (days IN ('all', 'workdays', 'restdays')),
    ADD CHECK (num_nonnulls(hours_from, hours_to) <> 1);

ALTER TABLE app.notification_rota
    ADD COLUMN handover_hour smallint NOT NULL DEFAULT 9 CHECK (handover_hour BETWEEN 0 AND 23),
    ADD COLUMN turn_days smallint NOT NULL DEFAULT 7 CHECK (turn_days BETWEEN 1 AND 31),
    ADD COLUMN time_zone text NOT NULL DEFAULT 'Asia/Shanghai',
    -- Who takes public holidays, where someone does; a calendar of the tariffs says which days they are.
    ADD COLUMN holiday_channel_id bigint REFERENCES app.notification_channel ON DELETE SET NULL;

ALTER TABLE app.notification_shift ADD COLUMN handed_over_at timestamptz;

-- Which route put a message in: repetitions and recoveries keep its quiet hours and follow its rota.
ALTER TABLE app.notification ADD COLUMN route_id bigint REFERENCES app.notification_route ON DELETE SET NULL;
