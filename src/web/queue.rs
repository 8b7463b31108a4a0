//! Requests waiting for their turn.

use std::collections::VecDeque;

/// Jobs in the order in which they came, and the one being worked on.
#[derive(Debug)]
pub struct Queue<J> {
    waiting: VecDeque<(u64, J)>,
    running: Option<u64>,
    /// Somebody works through the queue, or was called to.
    working: bool,
}

/// Where a job was when it was to be aborted.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Not begun; it is out of the queue now.
    Waiting,
    /// Being worked on; whoever does that must be told.
    Running,
    /// Done already, or never there.
    Nowhere,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: None, working: false }
    }
}

impl<J> Queue<J> {
    /// Puts a job at the end. `true` if nobody works on the queue: then somebody must begin to.
    pub fn push(&mut self, id: u64, job: J) -> bool {
        self.waiting.push_back((id, job));
        !std::mem::replace(&mut self.working, true)
    }

    /// The next job, which is being worked on from now; `None` if there is none, and nobody works on the queue any more.
    pub fn next(&mut self) -> Option<(u64, J)> {
        let next = self.waiting.pop_front();
        self.running = next.as_ref().map(|(id, _)| *id);
        self.working = next.is_some();
        next
    }

    /// Takes a job out that has not begun, or tells that it is being worked on.
    pub fn abort(&mut self, id: u64) -> Place {
        if self.running == Some(id) {
            return Place::Running;
        }
        let before = self.waiting.len();
        self.waiting.retain(|(waiting, _)| *waiting != id);
        if self.waiting.len() < before { Place::Waiting } else { Place::Nowhere }
    }

    /// Takes out all jobs that have not begun, and gives their ids.
    pub fn drain(&mut self) -> Vec<u64> {
        self.waiting.drain(..).map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_come_in_order_and_one_worker_is_called_for() {
        let mut queue = Queue::default();
        assert!(queue.push(1, 'a'));
        assert!(!queue.push(2, 'b'));
        assert_eq!(queue.next(), Some((1, 'a')));
        assert!(!queue.push(3, 'c'));
        assert_eq!(queue.next(), Some((2, 'b')));
        assert_eq!(queue.next(), Some((3, 'c')));
        assert_eq!(queue.next(), None);
        assert!(queue.push(4, 'd'));
    }

    #[test]
    fn an_abort_finds_the_job_wherever_it_is() {
        let mut queue = Queue::default();
        queue.push(1, 'a');
        queue.push(2, 'b');
        queue.push(3, 'c');
        queue.next();
        assert_eq!(queue.abort(1), Place::Running);
        assert_eq!(queue.abort(2), Place::Waiting);
        assert_eq!(queue.abort(2), Place::Nowhere);
        assert_eq!(queue.abort(9), Place::Nowhere);
        assert_eq!(queue.next(), Some((3, 'c')));
        assert_eq!(queue.abort(1), Place::Nowhere);
    }

    #[test]
    fn draining_leaves_the_running_job() {
        let mut queue = Queue::default();
        queue.push(1, 'a');
        queue.next();
        queue.push(2, 'b');
        queue.push(3, 'c');
        assert_eq!(queue.drain(), [2, 3]);
        assert_eq!(queue.abort(1), Place::Running);
        assert_eq!(queue.next(), None);
    }
}
