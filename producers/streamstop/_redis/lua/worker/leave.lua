--! include lib/event lib/writing
--! const WORKERS
--! args run name
-- Remove a worker that stops.
begin_writing()
if redis.call('HDEL', WORKERS, run) == 1 then add_event('worker_stopped', '', '', name, '') end
