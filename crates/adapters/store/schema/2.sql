-- What happened is written once. The oldest rows of a cluster go when there are too many; none is ever changed.
CREATE TRIGGER event_is_written_once BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'what happened cannot be changed');
END;
