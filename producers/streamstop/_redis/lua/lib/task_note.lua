-- Notes about the jobs of a stream task: see _core.stream_tasks. The list streamstop.work.task.<task id> has the newest
-- first.

local MOST_NOTES = 100

-- Return the kind, the job's id, and the lane with the parameters of a note.
local function read_note(text)
    return string.match(text, '^(%l+)\n([^\n]*)\n([^\n]*\n[^\n]*)\n')
end

-- Add a note to its task's list, and keep the list for `ttl` s. It replaces the newest note if both are of one job, or of
-- status calls with the same parameters: a service may poll a task for hours.
local function note_task(note, ttl)
    local length = redis.pcall('LPUSH', note.key, note.text)
    if type(length) ~= 'number' then return end     -- a key of another type must not keep a job from ending
    if length > 1 then
        local kind, id, what = read_note(note.text)
        local older_kind, older_id, older_what = read_note(redis.call('LINDEX', note.key, 1))
        if id == older_id or kind == 'status' and older_kind == 'status' and what == older_what then
            redis.call('LPOP', note.key)
            redis.call('LSET', note.key, 0, note.text)
        elseif length > MOST_NOTES then
            redis.call('LTRIM', note.key, 0, MOST_NOTES - 1)
        end
    end
    redis.call('EXPIRE', note.key, ttl)
end
