//! Clients of the test's own: they make the world that the ports act on, and read back what became of it.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_cloudwatch::types::{ComparisonOperator, Statistic};
use aws_sdk_ecs::types::{ContainerDefinition, LaunchType};

use crate::server::REGION;

/// An instance's id that no stand-in has.
pub(crate) const NO_INSTANCE: &str = "i-0123456789abcdef0";

/// A harmless SSM document.
pub(crate) const DOCUMENT: &str = r#"{"schemaVersion":"2.2","description":"test","parameters":{"RunId":{"type":"String"}},"mainSteps":[{"action":"aws:runShellScript","name":"run","inputs":{"runCommand":["true"]}}]}"#;

#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) ssm: aws_sdk_ssm::Client,
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) asg: aws_sdk_autoscaling::Client,
    pub(crate) cloudwatch: aws_sdk_cloudwatch::Client,
}

impl Operator {
    pub(crate) async fn new(port: u16) -> Self {
        let sdk = sdk(port).await;
        Self {
            ssm: aws_sdk_ssm::Client::new(&sdk),
            ecs: aws_sdk_ecs::Client::new(&sdk),
            asg: aws_sdk_autoscaling::Client::new(&sdk),
            cloudwatch: aws_sdk_cloudwatch::Client::new(&sdk),
        }
    }

    /// `untoil-test` in version 1.
    pub(crate) async fn document(&self) {
        let made = self.ssm.create_document().name("untoil-test").content(DOCUMENT);
        made.document_type(aws_sdk_ssm::types::DocumentType::Command).send().await.unwrap();
    }

    /// Cluster `workers` with service `contact-sync`, two tasks wanted.
    pub(crate) async fn service(&self) {
        self.ecs.create_cluster().cluster_name("workers").send().await.unwrap();
        let container = ContainerDefinition::builder().name("app").image("app").memory(64).build();
        let family = self.ecs.register_task_definition().family("contact-sync");
        family.container_definitions(container).send().await.unwrap();
        let service = self.ecs.create_service().cluster("workers").service_name("contact-sync");
        let service = service.task_definition("contact-sync").desired_count(2);
        service.launch_type(LaunchType::Fargate).send().await.unwrap();
    }

    /// What the service's wanted count is, as the stand-in says.
    pub(crate) async fn wanted_tasks(&self) -> i32 {
        let found = self.ecs.describe_services().cluster("workers").services("contact-sync");
        found.send().await.unwrap().services()[0].desired_count()
    }

    /// Group `web`: two instances, one to four.
    pub(crate) async fn group(&self) {
        let launch = self.asg.create_launch_configuration().launch_configuration_name("web");
        launch.image_id("ami-12c6146b").instance_type("t2.micro").send().await.unwrap();
        let group = self.asg.create_auto_scaling_group().auto_scaling_group_name("web");
        let group = group.launch_configuration_name("web").min_size(1).max_size(4);
        let group = group.desired_capacity(2).availability_zones(format!("{REGION}a"));
        group.send().await.unwrap();
    }

    /// The group's wanted size and its instances, as the stand-in says.
    pub(crate) async fn group_now(&self) -> (i32, Vec<String>) {
        let found = self.asg.describe_auto_scaling_groups().auto_scaling_group_names("web");
        let found = found.send().await.unwrap();
        let group = &found.auto_scaling_groups()[0];
        let ids = group.instances().iter().map(|one| one.instance_id().unwrap().to_owned());
        (group.desired_capacity().unwrap(), ids.collect())
    }

    /// Alarm `backlog` on a metric.
    pub(crate) async fn alarm(&self) {
        let alarm = self.cloudwatch.put_metric_alarm().alarm_name("backlog");
        let alarm = alarm.namespace("Remember/ContactSync").metric_name("PendingContacts");
        let alarm = alarm.statistic(Statistic::Average).period(60).evaluation_periods(1);
        let alarm = alarm.threshold(100.0);
        alarm.comparison_operator(ComparisonOperator::GreaterThanThreshold).send().await.unwrap();
    }
}

async fn sdk(port: u16) -> SdkConfig {
    let test = aws_sdk_sts::config::Credentials::new("test", "test", None, None, "test");
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .credentials_provider(test)
        .load()
        .await
}
