fn main(){ let a=sluice_e2e::kafka::Admin::new("127.0.9.1:25150").unwrap(); println!("{:?}", a.wait_topic("t",1).is_ok()); println!("{:?}", a.topics()); println!("{:?}", a.topics()); }
