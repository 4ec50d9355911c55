--! include lib/writing
-- Moves a job back to the front of its lane, or removes it. A lane is a table that keys_of or open_lane returned.

-- Return the table that a JSON text holds, or an empty table.
local function decode(message)
    local ok, fields = pcall(cjson.decode, message)
    if ok and type(fields) == 'table' then
        return fields
    end
    return {}
end

-- Push a job to the front of its lane. The caller removes what else the lane holds of the job.
local function push_to_front(lane, message, history)
    local properties = decode(message).properties
    local priority = type(properties) == 'table' and tonumber(properties.priority) or 0
    local level = math.max(1, math.min(4, math.floor(priority / 3) + 1))
    redis.call('RPUSH', lane.waiting[level], history == '' and message or '\1' .. history .. '\n' .. message)
end

-- Remove what the lane holds of a job that is in flight or deferred.
local function remove_job(lane, id)
    has_written = true
    redis.call('ZREM', lane.leases, id)
    redis.call('HDEL', lane.jobs, id, id .. ':owner', id .. ':tries')
end
