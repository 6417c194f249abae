-- Which changes of the ledger a bill run and a proposed adjustment have seen, exactly: a change that was committed while a
-- run waited for its issue, or beside its calculation, is one that its bills do not know. A proposal whose bill would be
-- the same again is void.
-- depends: 0160.metering-corrections 0232.billing-final

ALTER TABLE app.bill_run ADD COLUMN known_snapshot pg_snapshot, ADD COLUMN known_transaction xid8;
ALTER TABLE app.bill_run ALTER COLUMN known_snapshot SET DEFAULT pg_current_snapshot(),
    ALTER COLUMN known_transaction SET DEFAULT pg_current_xact_id();

ALTER TABLE app.bill_adjustment ADD COLUMN known_snapshot pg_snapshot, ADD COLUMN known_transaction xid8,
    DROP CONSTRAINT bill_adjustment_state_check,
    ADD CONSTRAINT bill_adjustment_state_check CHECK (state IN ('proposed', 'accepted', 'rejected', 'void'));

CREATE FUNCTION app.is_known(change xid8, snapshot pg_snapshot, own xid8) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN change = own OR pg_visible_in_snapshot(change, snapshot);
