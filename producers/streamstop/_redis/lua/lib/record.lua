--! include lib/writing
--! const RESULT RETRY_RECORD
-- Jobs' records in Celery's result backend.

-- Return whether a job's record says that the job has ended.
local function has_ended(record)
    return record and string.sub(record, 1, #RETRY_RECORD) ~= RETRY_RECORD
end

-- Write and publish a job's record.
local function write_record(id, value, ttl_s)
    local key = RESULT .. id
    local reply = redis.pcall('SET', key, value, 'EX', ttl_s)
    if reply.err then       -- over its memory limit; most runs save the extra command
        begin_writing()
        redis.call('SET', key, value, 'EX', ttl_s)
    end
    has_written = true
    redis.call('PUBLISH', key, value)
end
