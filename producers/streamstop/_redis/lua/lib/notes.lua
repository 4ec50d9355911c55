-- Notes: a string of texts, separated by \1, the newest first.

-- Return the newest texts of `notes`, so that there are no more than `most` with one more; nil: none is left.
local function newest(notes, most)
    local _, separators = string.gsub(notes, '\1', '')
    return separators < most - 1 and notes or string.match(notes, '^(.*)\1')
end

-- Put a text before the notes of a key, and keep them for `ttl` s. `older` returns which of the notes stay; nil: none. The
-- first text, the only one of most keys, costs one command. A key of another type must not keep a job from its report.
local function add_note(key, text, ttl, older)
    if redis.pcall('SET', key, text, 'EX', ttl, 'NX') then return end
    local notes = redis.pcall('GET', key)
    if type(notes) ~= 'string' then return end
    local kept = older(notes)
    redis.pcall('SET', key, kept and text .. '\1' .. kept or text, 'EX', ttl)
end
