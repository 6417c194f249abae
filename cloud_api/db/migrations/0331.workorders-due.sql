-- The history of an order says when its due time was moved.

ALTER TABLE app.work_order_entry
    DROP CONSTRAINT work_order_entry_kind_check,
    ADD CONSTRAINT work_order_entry_kind_check CHECK (kind IN ('state', 'comment', 'photo', 'due'));
