//! Seconds of each dispatch of a program.

use std::ops::Range;

use web_time::Instant;

use super::Submission;
use super::session::Session;
use crate::backend::{TimingClock, Timings};
use crate::error::Result;

/// Dispatches timed in one query set: WebGPU's sets hold at most 4096 timestamps.
const TIMED_AT_ONCE: usize = 2048;

impl Session {
    /// Runs the program once and times each of its dispatches: by timestamps, or by the wall clock where the adapter
    /// has none or reports ones that stand still (Metal on some versions of macOS).
    pub async fn time(&mut self, program: usize) -> Result<Timings> {
        if self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            let seconds = self.timestamps(program).await?;
            if seconds.iter().any(|&s| s > 0.0) {
                return Ok(Timings { seconds, clock: TimingClock::Timestamps });
            }
        }
        self.time_by_wall(program).await
    }

    /// Each dispatch submitted and waited for alone.
    pub async fn time_by_wall(&mut self, program: usize) -> Result<Timings> {
        let mut seconds = Vec::new();
        for index in 0..self.programs[program].len() {
            let start = Instant::now();
            let submission = self.submit_steps(program, index..index + 1, None);
            self.gpu.wait(submission).await?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok(Timings { seconds, clock: TimingClock::Wall })
    }

    /// Each dispatch in a pass of its own, between two timestamps.
    async fn timestamps(&mut self, program: usize) -> Result<Vec<f64>> {
        let mut seconds = Vec::new();
        let count = self.programs[program].len();
        for first in (0..count).step_by(TIMED_AT_ONCE) {
            let steps = first..(first + TIMED_AT_ONCE).min(count);
            let queries = 2 * steps.len() as u32;
            let set = self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: queries,
            });
            let buffer = |label, usage| {
                let size = queries as u64 * 8;
                let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
                self.gpu.device.create_buffer(&descriptor)
            };
            let resolved = buffer("timestamps", wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
            let staging = buffer("staging", wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            self.submit_steps(program, steps, Some(&set));
            let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.resolve_query_set(&set, 0..queries, &resolved, 0);
            encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, queries as u64 * 8);
            self.gpu.queue.submit([encoder.finish()]);
            let ticks: Vec<u64> = self.map(&staging, bytemuck::pod_collect_to_vec).await?;
            let period = f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9;
            seconds.extend(ticks.chunks_exact(2).map(|t| t[1].saturating_sub(t[0]) as f64 * period));
        }
        Ok(seconds)
    }

    /// Submits these dispatches of a program, each in a pass of its own, between timestamps where there is a set for
    /// them.
    fn submit_steps(&mut self, program: usize, steps: Range<usize>, timestamps: Option<&wgpu::QuerySet>) -> Submission {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.counters.dispatches += steps.len() as u64;
        self.counters.submits += 1;
        for (slot, step) in self.programs[program][steps].iter().enumerate() {
            let timestamp_writes = timestamps.map(|query_set| wgpu::ComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index: Some(2 * slot as u32),
                end_of_pass_write_index: Some(2 * slot as u32 + 1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
            step.dispatch(&mut encoder.begin_compute_pass(&descriptor));
        }
        self.gpu.submit(encoder)
    }
}
