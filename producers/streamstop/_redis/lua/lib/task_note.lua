--! include lib/notes
-- Notes about the jobs of a stream task: see _core.stream_tasks. The string streamstop.work.task.<task id> holds them.

local MOST_NOTES = 100

-- Return the kind, the job's id, and the lane with the parameters of the first note of a text.
local function read_note(text)
    return string.match(text, '^(%l+)\n([^\n]*)\n([^\n]*\n[^\n]*)\n')
end

-- Return the older notes of a task without those that a new note replaces: the newest if both are of one job, or of status
-- calls with the same parameters (a service may poll a task for hours), and the oldest of too many. nil: none is left.
local function older_notes(notes, text)
    local kind, id, what = read_note(text)
    local older_kind, older_id, older_what = read_note(notes)
    if id == older_id or kind == 'status' and older_kind == 'status' and what == older_what then
        return string.match(notes, '\1(.*)$')
    end
    return newest(notes, MOST_NOTES)
end

-- Add a note to those of its task, and keep them for `ttl` s.
local function note_task(note, ttl)
    add_note(note.key, note.text, ttl, function(notes) return older_notes(notes, note.text) end)
end
