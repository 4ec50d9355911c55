--! include lib/writing
--! const RESULT RETRY_RECORD
-- The records of jobs in Celery's result backend.

-- Whether a job's record in Celery's result backend says that it has ended.
local function ended(record)
    return record and string.sub(record, 1, #RETRY_RECORD) ~= RETRY_RECORD
end

-- Record in Celery's result backend what became of a job.
local function write_record(id, value, ttl_s)
    local key = RESULT .. id
    local reply = redis.pcall('SET', key, value, 'EX', ttl_s)
    if reply.err then       -- most scripts that end jobs are spared the command that this costs
        begin_writing()
        redis.call('SET', key, value, 'EX', ttl_s)
    end
    written = true
    redis.call('PUBLISH', key, value)
end
